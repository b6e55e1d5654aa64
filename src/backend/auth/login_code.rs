//! A code that signs in once, from the machine of the backend: the link that the demo prints.

use std::fmt;
use std::net::IpAddr;
use std::sync::Mutex;

use super::token;
use crate::backend::store::{Digest, RandomError};
use crate::process::lock::lock;

/// A code of 256 random bits, and the token that it signs in with.
#[derive(Clone, PartialEq, Eq)]
pub struct LoginCode {
    /// The code, which is in the link. It is kept as text for that alone.
    code: String,
    /// The whole text of the token.
    token: String,
}

/// The code of a backend, until it is used.
pub(super) struct UnusedLoginCode(Mutex<Option<LoginCode>>);

impl LoginCode {
    /// Creates a code that signs in as the holder of the token with this whole text.
    ///
    /// Fails if the system gives no random numbers.
    pub fn new(token: String) -> Result<Self, RandomError> {
        Ok(Self { code: token::random_secret()?, token })
    }

    /// Returns the path of the link, which holds the code.
    pub fn path(&self) -> String {
        format!("/sign-in/{}", self.code)
    }
}

impl fmt::Debug for LoginCode {
    /// Hides the code and the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoginCode(..)")
    }
}

impl UnusedLoginCode {
    pub(super) fn new(code: Option<LoginCode>) -> Self {
        Self(Mutex::new(code))
    }

    /// Uses up the code, and returns the token that it signs in with; `None` if `text` is not the code, if the code was
    /// used, or if `peer` is another machine.
    pub(super) fn take(&self, peer: IpAddr, text: &str) -> Option<String> {
        // Digests are compared, so that the time of the comparison tells nothing of the code.
        let presented = Digest::of(text);
        let mut unused = lock(&self.0);
        let is_right = unused.as_ref().is_some_and(|known| Digest::of(&known.code).matches(&presented));
        if is_right && peer.to_canonical().is_loopback() { unused.take().map(|code| code.token) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_code_is_taken_once_and_from_loopback_alone() {
        let code = LoginCode::new("the token".to_owned()).unwrap();
        let text = code.path().strip_prefix("/sign-in/").unwrap().to_owned();
        assert_eq!(text.len(), 64);
        let unused = UnusedLoginCode::new(Some(code));
        for peer in ["192.0.2.7", "::ffff:192.0.2.7", "2001:db8::1", "0.0.0.0"] {
            assert_eq!(unused.take(ip(peer), &text), None, "{peer}");
        }
        for wrong in ["", "the token", &text[1..], &text.to_uppercase().replace(char::is_numeric, "0")] {
            assert_eq!(unused.take(ip("127.0.0.1"), wrong), None, "{wrong}");
        }
        assert_eq!(unused.take(ip("::ffff:127.0.0.1"), &text), Some("the token".to_owned()));
        assert_eq!(unused.take(ip("127.0.0.1"), &text), None, "it was used");
    }

    #[test]
    fn no_code_takes_nothing() {
        let unused = UnusedLoginCode::new(None);
        assert_eq!(unused.take(ip("127.0.0.1"), ""), None);
    }

    #[test]
    fn neither_the_code_nor_its_token_is_shown() {
        let shown = format!("{:?}", LoginCode::new("the token".to_owned()).unwrap());
        assert_eq!(shown, "LoginCode(..)");
    }
}
