//! Readers of every kind.

use jiff::{SignedDuration, Timestamp};
use kamaji_telemetry::backend::store::{AuthStore, Digest, Role, Session, Token};
use uuid::Uuid;

/// The credentials of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Nothing,
    Token,
    Session,
}

/// The state of the token, or of the session alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Valid,
    Unknown,
    Expired,
    Revoked,
    SessionExpired,
}

/// A reader.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) way: Way,
    pub(super) role: Role,
    pub(super) state: State,
}

impl Reader {
    /// Returns a reader of each kind.
    pub(super) fn all() -> Vec<Self> {
        let nobody = Self { way: Way::Nothing, role: Role::Admin, state: State::Unknown };
        let states = [State::Valid, State::Unknown, State::Expired, State::Revoked, State::SessionExpired];
        let others = [Way::Token, Way::Session].into_iter().flat_map(|way| {
            [Role::Viewer, Role::Admin].into_iter().flat_map(move |role| states.map(|state| Self { way, role, state }))
        });
        let sessions_alone = |reader: &Self| reader.state != State::SessionExpired || reader.way == Way::Session;
        std::iter::once(nobody).chain(others.filter(sessions_alone)).collect()
    }

    /// Creates new credentials, and returns their header.
    pub(super) async fn enter(&self, auth_store: &dyn AuthStore) -> Option<(&'static str, String)> {
        let [id, secret] = [(); 2].map(|()| Uuid::new_v4().simple().to_string());
        let prefix = format!("ktt_{}", &id[..8]);
        let text = format!("{prefix}_{secret}{secret}");
        let (now, hour) = (Timestamp::now(), SignedDuration::from_hours(1));
        let expires = if self.state == State::Expired { now - hour } else { now + hour };
        let token = Token { prefix: prefix.clone(), name: id, role: self.role, created: now, expires, revoked: None };
        if self.state != State::Unknown {
            auth_store.create_token(token, Digest::of(&text)).await.unwrap();
            let ends = if self.state == State::SessionExpired { now - hour } else { now + hour };
            let token_digest = Digest::of(&text);
            let session = Session { digest: Digest::of(&secret), token: prefix.clone(), token_digest, expires: ends };
            // Long ago, so that what has expired since is still there.
            assert!(auth_store.open_session(session, now - hour * 2).await.unwrap());
        }
        if self.state == State::Revoked {
            auth_store.revoke_token(prefix, now).await.unwrap();
        }
        match self.way {
            Way::Nothing => None,
            Way::Token => Some(("authorization", format!("Bearer {text}"))),
            Way::Session => Some(("cookie", format!("ktt_session={secret}"))),
        }
    }
}
