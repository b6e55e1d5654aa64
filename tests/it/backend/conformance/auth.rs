//! The conformance suite of stores of tokens, sessions and the audit log. A new store is a module that opens it and
//! calls `conformance!`.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kamaji_telemetry::backend::store::{
    AuditLogEntry, AuthStore, CREATE_TOKEN, Digest, ERASE, MAX_SESSIONS, PrunedAuth, REVOKE_TOKEN, Role, Session,
    SqliteStore, StoreTokenError, StoredSession, Token, UsedToken, truncate_to_hour,
};
use tokio::task::JoinSet;

use super::{hours_ago, noon};
use crate::servers::postgres::TestDatabase;

macro_rules! conformance {
    ($open:expr) => {
        conformance!(@ $open,
            a_token_reads_back_as_it_was_made_and_so_does_its_digest,
            a_name_is_given_once_until_its_token_is_revoked,
            of_two_that_take_a_name_at_once_one_gets_it,
            a_token_is_revoked_by_name_or_prefix_once_and_its_sessions_end,
            a_session_ends_alone_or_by_its_time_or_when_there_are_too_many,
            the_log_is_read_newest_first_and_bounded,
            what_nobody_known_tried_is_summed_by_the_hour,
            the_entry_of_a_command_is_taken_once_and_that_of_a_request_never,
            the_last_use_of_a_token_is_its_last_read,
            what_ended_before_the_cutoff_is_deleted_and_the_rest_stays,
            a_session_is_opened_only_with_the_secret_of_a_valid_token,
            a_session_of_a_token_that_is_not_in_the_store_is_stored_without_it,
            whether_any_token_is_valid_is_known,
        );
    };
    (@ $open:expr, $($check:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $check() {
                let (auth_store, _place) = $open.await;
                super::$check(auth_store).await;
            }
        )*
    };
}

mod sqlite {
    conformance!(std::future::ready(super::open_sqlite()));
}

mod postgres {
    conformance!(super::open_postgres());
}

type Shared = Arc<dyn AuthStore>;

fn open_sqlite() -> (Shared, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Arc::new(SqliteStore::open(&folder.path().join("store.db")).unwrap()), folder)
}

async fn open_postgres() -> (Shared, TestDatabase) {
    let database = TestDatabase::create().await;
    (database.open().await, database)
}

fn token(number: u8, name: &str) -> Token {
    Token {
        prefix: format!("ktt_{number:08}"),
        name: name.to_owned(),
        role: Role::Viewer,
        created: hours_ago(100 - i64::from(number)),
        expires: noon() + SignedDuration::from_hours(100),
        revoked: None,
    }
}

async fn create(auth_store: &Shared, number: u8, name: &str) -> Token {
    let token = token(number, name);
    auth_store.create_token(token.clone(), Digest::of(name)).await.unwrap();
    token
}

fn unused(token: &Token) -> UsedToken {
    UsedToken { token: token.clone(), last_used: None }
}

fn session(secret: &str, token: &Token, expires: Timestamp) -> Session {
    // The digest that `create` gives a token.
    let token_digest = Digest::of(&token.name);
    Session { digest: Digest::of(secret), token: token.prefix.clone(), token_digest, expires }
}

fn read(token: &Token, time: Timestamp) -> AuditLogEntry {
    AuditLogEntry { time, actor: Some(token.reference()), action: "GET /".into(), status: Some(200), count: 1 }
}

fn failed(time: Timestamp) -> AuditLogEntry {
    AuditLogEntry { time, actor: None, action: "POST /sign-in".into(), status: Some(401), count: 1 }
}

async fn a_token_reads_back_as_it_was_made_and_so_does_its_digest(auth_store: Shared) {
    assert!(auth_store.tokens().await.unwrap().is_empty());
    let mut made = token(1, "alice@example.org");
    made.role = Role::Admin;
    auth_store.create_token(made.clone(), Digest::of("secret")).await.unwrap();
    let (read, digest) = auth_store.token(made.prefix.clone()).await.unwrap().unwrap();
    assert_eq!(read, made);
    assert!(digest.matches(&Digest::of("secret")) && !digest.matches(&Digest::of("Secret")));
    assert_eq!(auth_store.tokens().await.unwrap(), [unused(&made)]);
    assert!(auth_store.token("ktt_99999999".into()).await.unwrap().is_none());
    let log = auth_store.audit_log(10).await.unwrap();
    let entry = AuditLogEntry { action: CREATE_TOKEN.into(), status: None, ..self::read(&made, made.created) };
    assert_eq!(log, [entry]);
}

async fn a_name_is_given_once_until_its_token_is_revoked(auth_store: Shared) {
    create(&auth_store, 1, "ci").await;
    let again = auth_store.create_token(token(2, "ci"), Digest::of("")).await;
    assert!(matches!(again, Err(StoreTokenError::NameTaken)), "{again:?}");
    assert_eq!(auth_store.tokens().await.unwrap().len(), 1);
    auth_store.revoke_token("ci".into(), noon()).await.unwrap().unwrap();
    create(&auth_store, 2, "ci").await;
    assert_eq!(auth_store.tokens().await.unwrap().len(), 2);
    let revoked = auth_store.revoke_token("ci".into(), noon()).await.unwrap().unwrap();
    assert_eq!(revoked.prefix, token(2, "ci").prefix, "the one that is not revoked yet");
}

async fn of_two_that_take_a_name_at_once_one_gets_it(auth_store: Shared) {
    let mut makers = JoinSet::new();
    for number in 0..8 {
        let auth_store = Arc::clone(&auth_store);
        makers.spawn(async move { auth_store.create_token(token(number, "ci"), Digest::of("")).await.is_ok() });
    }
    let made = makers.join_all().await.into_iter().filter(|made| *made).count();
    assert_eq!((made, auth_store.tokens().await.unwrap().len()), (1, 1));
}

async fn a_token_is_revoked_by_name_or_prefix_once_and_its_sessions_end(auth_store: Shared) {
    let expires = noon() + SignedDuration::from_hours(1);
    for (number, by_name) in [(1, true), (2, false)] {
        let revoked = create(&auth_store, number, &format!("revoked-{number}")).await;
        let kept = create(&auth_store, number + 10, &format!("kept-{number}")).await;
        for (secret, token) in [("revoked", &revoked), ("kept", &kept)] {
            let session = session(&format!("{secret}-{number}"), token, expires);
            assert!(auth_store.open_session(session, noon()).await.unwrap());
        }
        let which = if by_name { &revoked.name } else { &revoked.prefix };
        assert_eq!(auth_store.revoke_token(which.clone(), noon()).await.unwrap(), Some(revoked.clone()));
        let after = Token { revoked: Some(noon()), ..revoked.clone() };
        assert_eq!(auth_store.token(revoked.prefix.clone()).await.unwrap().unwrap().0, after);
        assert!(auth_store.session(Digest::of(&format!("revoked-{number}"))).await.unwrap().is_none());
        let left = auth_store.session(Digest::of(&format!("kept-{number}"))).await.unwrap().unwrap();
        assert_eq!(left.session, session(&format!("kept-{number}"), &kept, expires));
        assert_eq!(left.token, Some((kept.clone(), Digest::of(&kept.name))));
        let later = noon() + SignedDuration::from_hours(1);
        assert_eq!(auth_store.revoke_token(revoked.prefix, later).await.unwrap(), Some(after), "it stays as it was");
        let revocations = auth_store.audit_log(100).await.unwrap();
        let revocations = revocations.iter().filter(|entry| entry.action == REVOKE_TOKEN).count();
        assert_eq!(revocations, usize::from(number));
    }
    assert_eq!(auth_store.revoke_token("nobody".into(), noon()).await.unwrap(), None);
}

async fn a_session_ends_alone_or_by_its_time_or_when_there_are_too_many(auth_store: Shared) {
    let [alice, bob] = [create(&auth_store, 1, "alice").await, create(&auth_store, 2, "bob").await];
    let expires = |minutes: u32| noon() + SignedDuration::from_mins(i64::from(minutes));
    let is_open = async |secret: &str| auth_store.session(Digest::of(secret)).await.unwrap().is_some();
    let open = async |session, now| assert!(auth_store.open_session(session, now).await.unwrap());
    open(session("bob", &bob, expires(1)), noon()).await;
    open(session("closed", &alice, expires(1)), noon()).await;
    assert!(is_open("closed").await);
    auth_store.close_session(Digest::of("closed")).await.unwrap();
    assert!(!is_open("closed").await && is_open("bob").await);
    for number in 0..=MAX_SESSIONS {
        open(session(&number.to_string(), &alice, expires(10 + number)), noon()).await;
    }
    assert!(!is_open("0").await, "the oldest gave way");
    for number in 1..=MAX_SESSIONS {
        assert!(is_open(&number.to_string()).await, "{number}");
    }
    assert!(is_open("bob").await, "another's");
    open(session("new", &alice, expires(100)), expires(1)).await;
    assert!(!is_open("bob").await && is_open("new").await, "what has expired is deleted");
}

async fn the_log_is_read_newest_first_and_bounded(auth_store: Shared) {
    let alice = create(&auth_store, 1, "alice").await;
    let entries: Vec<_> = [3, 1, 2].map(|hours| read(&alice, hours_ago(hours))).into();
    auth_store.record(entries.clone()).await.unwrap();
    auth_store.record(vec![]).await.unwrap();
    let log = auth_store.audit_log(2).await.unwrap();
    assert_eq!(log, [entries[1].clone(), entries[2].clone()]);
    assert_eq!(auth_store.audit_log(100).await.unwrap().len(), 4, "with the creation of the token");
}

async fn what_nobody_known_tried_is_summed_by_the_hour(auth_store: Shared) {
    let minutes = |minutes| noon() + SignedDuration::from_mins(minutes);
    auth_store.record(vec![failed(minutes(1)), failed(minutes(59)), failed(minutes(61))]).await.unwrap();
    auth_store
        .record(vec![failed(minutes(2)), AuditLogEntry { status: Some(400), ..failed(minutes(2)) }])
        .await
        .unwrap();
    let log = auth_store.audit_log(100).await.unwrap();
    let mut summed: Vec<_> = log.iter().map(|entry| (entry.time, entry.status, entry.count)).collect();
    summed.sort_unstable();
    let [first, second] = [truncate_to_hour(minutes(1)), truncate_to_hour(minutes(61))];
    assert_eq!(summed, [(first, Some(400), 1), (first, Some(401), 3), (second, Some(401), 1)]);
}

async fn the_entry_of_a_command_is_taken_once_and_that_of_a_request_never(auth_store: Shared) {
    let taken = async || {
        let entries = auth_store.take_commands().await.unwrap();
        entries.into_iter().map(|entry| (entry.action, entry.count)).collect::<Vec<_>>()
    };
    let command = |action: &str, count| (action.to_owned(), count);
    let alice = create(&auth_store, 1, "alice").await;
    auth_store.record(vec![read(&alice, hours_ago(2)), failed(noon())]).await.unwrap();
    auth_store.revoke_token("alice".into(), noon()).await.unwrap();
    assert_eq!(taken().await, [command(CREATE_TOKEN, 1), command(REVOKE_TOKEN, 1)]);
    assert_eq!(taken().await, []);
    let erasure = AuditLogEntry { action: ERASE.into(), status: None, ..failed(noon()) };
    auth_store.record(vec![erasure.clone(), erasure.clone()]).await.unwrap();
    assert_eq!(taken().await, [command(ERASE, 2)]);
    auth_store.record(vec![erasure]).await.unwrap();
    assert_eq!(taken().await, [command(ERASE, 3)], "it has grown");
}

async fn the_last_use_of_a_token_is_its_last_read(auth_store: Shared) {
    let [alice, bob] = [create(&auth_store, 1, "alice").await, create(&auth_store, 2, "bob").await];
    auth_store.record(vec![read(&alice, hours_ago(1)), read(&alice, hours_ago(2))]).await.unwrap();
    assert_eq!(
        auth_store.tokens().await.unwrap(),
        [UsedToken { last_used: Some(hours_ago(1)), ..unused(&alice) }, unused(&bob)]
    );
}

async fn what_ended_before_the_cutoff_is_deleted_and_the_rest_stays(auth_store: Shared) {
    let valid = create(&auth_store, 1, "valid").await;
    create(&auth_store, 2, "revoked-early").await;
    create(&auth_store, 3, "revoked-late").await;
    auth_store.revoke_token("revoked-early".into(), hours_ago(50)).await.unwrap();
    auth_store.revoke_token("revoked-late".into(), hours_ago(1)).await.unwrap();
    for (number, hours) in [(4, 50), (5, 1)] {
        let expired = Token { expires: hours_ago(hours), ..token(number, &format!("expired-{number}")) };
        auth_store.create_token(expired, Digest::of("")).await.unwrap();
    }
    // More than one step of a deletion takes.
    auth_store.record((0..3_000).map(|_| read(&valid, hours_ago(25))).collect()).await.unwrap();
    auth_store.record((0..5).map(|_| read(&valid, hours_ago(24))).collect()).await.unwrap();
    let commands_before = 5 + 1 + 2 + 1;
    for (number, name) in [(6, "listed"), (7, "listed-expired")] {
        let expired = Token { expires: hours_ago(50), ..token(number, name) };
        auth_store.create_token(expired, Digest::of("")).await.unwrap();
    }
    auth_store.revoke_token("listed".into(), hours_ago(50)).await.unwrap();
    let listed: Vec<_> = [6, 7].map(|number| token(number, "").prefix).into();
    let trimmed = auth_store.prune_auth(hours_ago(24), noon(), listed.clone()).await.unwrap();
    assert_eq!(trimmed, PrunedAuth { entries: 3_000 + commands_before, tokens: 2 });
    let names: Vec<_> = auth_store.tokens().await.unwrap().into_iter().map(|used| used.token.name).collect();
    assert_eq!(names, ["valid", "revoked-late", "expired-5", "listed", "listed-expired"]);
    assert_eq!(auth_store.audit_log(10_000).await.unwrap().len(), 5 + 1);
    assert_eq!(auth_store.prune_auth(hours_ago(24), noon(), listed).await.unwrap(), PrunedAuth::default());
}

async fn a_session_is_opened_only_with_the_secret_of_a_valid_token(auth_store: Shared) {
    let [alice, bob] = [create(&auth_store, 1, "alice").await, create(&auth_store, 2, "bob").await];
    let later = noon() + SignedDuration::from_hours(1);
    let open = async |secret: &str, token: &Token, verified: &str, now| {
        let session = Session { token_digest: Digest::of(verified), ..session(secret, token, later) };
        let is_open = auth_store.open_session(session, now).await.unwrap();
        assert_eq!(is_open, auth_store.session(Digest::of(secret)).await.unwrap().is_some(), "{secret}");
        is_open
    };
    assert!(open("right", &alice, "alice", noon()).await);
    assert!(!open("another secret", &alice, "bob", noon()).await);
    auth_store.revoke_token("alice".into(), noon()).await.unwrap();
    assert!(!open("revoked", &alice, "alice", noon()).await, "verified before, it is not opened after");
    assert!(!open("expired", &bob, "bob", bob.expires).await);
    assert!(open("not yet", &bob, "bob", bob.expires - SignedDuration::from_millis(1)).await);
}

async fn a_session_of_a_token_that_is_not_in_the_store_is_stored_without_it(auth_store: Shared) {
    let later = noon() + SignedDuration::from_hours(1);
    let session = session("of a file's token", &token(1, "alice"), later);
    assert!(auth_store.open_session(session.clone(), noon()).await.unwrap());
    let stored = auth_store.session(session.digest).await.unwrap();
    assert_eq!(stored, Some(StoredSession { session: session.clone(), token: None }));
    auth_store.close_session(session.digest).await.unwrap();
    assert_eq!(auth_store.session(session.digest).await.unwrap(), None);
}

async fn whether_any_token_is_valid_is_known(auth_store: Shared) {
    let has_valid = async |now: Timestamp| auth_store.has_valid_token(now).await.unwrap();
    assert!(!has_valid(noon()).await);
    let made = create(&auth_store, 1, "alice").await;
    assert!(has_valid(noon()).await && !has_valid(made.expires).await);
    assert!(has_valid(made.expires - SignedDuration::from_millis(1)).await);
    auth_store.revoke_token(made.prefix, noon()).await.unwrap();
    assert!(!has_valid(noon()).await);
}
