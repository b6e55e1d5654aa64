//! Errors of the credentials for the API server.

use kube::client::AuthError;

/// Describes an error without the output of a plugin and without a credential, which kube's own texts repeat.
pub(super) fn describe(error: &AuthError) -> String {
    match error {
        AuthError::AuthExecStart(error) => {
            format!("the exec plugin of the kubeconfig can't be started: {error}: install it, or correct its command")
        }
        AuthError::MissingCommand => "the exec plugin of the kubeconfig has no command".to_owned(),
        AuthError::AuthExecRun { out, .. } => {
            format!("the exec plugin of the kubeconfig failed with {}: run its command to see why", out.status)
        }
        AuthError::ExecPluginFailed
        | AuthError::AuthExecParse(_)
        | AuthError::MalformedTokenExpirationDate(_)
        | AuthError::UnrefreshableTokenResponse => {
            "the exec plugin of the kubeconfig printed no usable ExecCredential: run its command to see why".to_owned()
        }
        AuthError::ReadTokenFile(error, path) => format!("the token file {} can't be read: {error}", path.display()),
        AuthError::InvalidBasicAuth(_) | AuthError::InvalidBearerToken(_) => {
            "the token or password of the kubeconfig has characters that no header can have".to_owned()
        }
        AuthError::AuthExec(_) | AuthError::ParseTokenKey(_) => {
            "the auth-provider of the kubeconfig can't be used: expected an exec plugin".to_owned()
        }
        _ => "the credentials of the kubeconfig can't be used".to_owned(),
    }
}
