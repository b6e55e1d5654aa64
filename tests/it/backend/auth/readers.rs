//! Everybody who may come.

use jiff::{SignedDuration, Timestamp};
use kamaji_telemetry::backend::store::{AuthStore, Digest, Role, Session, Token};
use uuid::Uuid;

/// How somebody says who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Nothing,
    Token,
    Session,
}

/// How it is with their token, or with their session alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Valid,
    Unknown,
    Expired,
    Revoked,
    SessionExpired,
}

/// Somebody.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) way: Way,
    pub(super) role: Role,
    pub(super) state: State,
}

impl Reader {
    /// One of each kind.
    pub(super) fn all() -> Vec<Self> {
        let nobody = Self { way: Way::Nothing, role: Role::Admin, state: State::Unknown };
        let states = [State::Valid, State::Unknown, State::Expired, State::Revoked, State::SessionExpired];
        let others = [Way::Token, Way::Session].into_iter().flat_map(|way| {
            [Role::Viewer, Role::Admin].into_iter().flat_map(move |role| states.map(|state| Self { way, role, state }))
        });
        let sessions_alone = |reader: &Self| reader.state != State::SessionExpired || reader.way == Way::Session;
        std::iter::once(nobody).chain(others.filter(sessions_alone)).collect()
    }

    /// Makes what they come with, and gives it as a header; new each time.
    pub(super) async fn enter(&self, access: &dyn AuthStore) -> Option<(&'static str, String)> {
        let [id, secret] = [(); 2].map(|()| Uuid::new_v4().simple().to_string());
        let prefix = format!("ktt_{}", &id[..8]);
        let text = format!("{prefix}_{secret}{secret}");
        let (now, hour) = (Timestamp::now(), SignedDuration::from_hours(1));
        let expires = if self.state == State::Expired { now - hour } else { now + hour };
        let token = Token { prefix: prefix.clone(), name: id, role: self.role, created: now, expires, revoked: None };
        if self.state != State::Unknown {
            access.create_token(token, Digest::of(&text)).await.unwrap();
            let ends = if self.state == State::SessionExpired { now - hour } else { now + hour };
            let token_digest = Digest::of(&text);
            let session = Session { digest: Digest::of(&secret), token: prefix.clone(), token_digest, expires: ends };
            // Long ago, so that what has expired since is still there.
            assert!(access.open_session(session, now - hour * 2).await.unwrap());
        }
        if self.state == State::Revoked {
            access.revoke_token(prefix, now).await.unwrap();
        }
        match self.way {
            Way::Nothing => None,
            Way::Token => Some(("authorization", format!("Bearer {text}"))),
            Way::Session => Some(("cookie", format!("ktt_session={secret}"))),
        }
    }
}
