//! Tokens that a file lists.

use jiff::{SignedDuration, Timestamp};
use kamaji_telemetry::backend::store::{
    CREATE_TOKEN, Digest, FileToken, Listing, REVOKE_TOKEN, RefusedToken, Role, Token,
};
use tokio::task::JoinSet;

use super::{Shared, create, hours_ago, noon, open, session, token};

fn listed(number: u8, name: &str) -> FileToken {
    let Token { prefix, name, role, .. } = token(number, name);
    let digest = Digest::of(&name);
    FileToken { prefix, name, role, digest }
}

async fn set(access: &Shared, listed: &[FileToken]) -> (u64, u64, Vec<RefusedToken>) {
    let Listing { created, revoked, refused } = access.set_listed_tokens(listed.to_vec(), noon()).await.unwrap();
    (created, revoked, refused)
}

/// Names of the tokens that are valid, and their roles.
async fn valid(access: &Shared) -> Vec<(String, Role)> {
    let tokens = access.tokens().await.unwrap().into_iter().map(|used| used.token);
    let mut valid: Vec<_> =
        tokens.filter(|token| token.is_valid(noon())).map(|token| (token.name, token.role)).collect();
    valid.sort();
    valid
}

/// What was done with tokens, oldest first.
async fn commands(access: &Shared) -> Vec<(String, String)> {
    let log = access.audit_log(1_000).await.unwrap();
    log.into_iter().rev().map(|entry| (entry.what, entry.who.unwrap().name)).collect()
}

fn viewers(names: &[&str]) -> Vec<(String, Role)> {
    names.iter().map(|name| ((*name).to_owned(), Role::Viewer)).collect()
}

fn did(what: &str, name: &str) -> (String, String) {
    (what.to_owned(), name.to_owned())
}

pub(super) async fn a_listed_token_is_valid_as_long_as_it_is_listed_and_so_are_its_sessions(access: Shared) {
    let [alice, bob] = [listed(1, "alice"), listed(2, "bob")];
    assert_eq!(set(&access, &[alice.clone(), bob.clone()]).await, (2, 0, vec![]));
    assert_eq!(valid(&access).await, viewers(&["alice", "bob"]));
    let (kept, digest) = access.token(alice.prefix.clone()).await.unwrap().unwrap();
    let expected = Token { prefix: alice.prefix.clone(), created: noon(), expires: None, ..token(1, "alice") };
    assert!(kept == expected && digest == alice.digest, "{kept:?}");
    let much_later = noon() + SignedDuration::from_hours(24 * 36_500);
    assert!(kept.is_valid(much_later));
    access.prune_auth(hours_ago(0), much_later).await.unwrap();
    for token in [&kept, &access.token(bob.prefix.clone()).await.unwrap().unwrap().0] {
        assert!(open(&access, session(&token.name, token, much_later), noon()).await);
    }
    assert_eq!(set(&access, &[bob.clone(), alice]).await, (0, 0, vec![]), "the same in another order");
    assert_eq!(set(&access, &[bob]).await, (0, 1, vec![]));
    assert_eq!(valid(&access).await, viewers(&["bob"]));
    assert!(access.session(Digest::of("alice")).await.unwrap().is_none());
    assert!(access.session(Digest::of("bob")).await.unwrap().is_some());
    let done = [did(CREATE_TOKEN, "alice"), did(CREATE_TOKEN, "bob"), did(REVOKE_TOKEN, "alice")];
    assert_eq!(commands(&access).await, done);
    assert_eq!(set(&access, &[]).await, (0, 1, vec![]));
    assert!(valid(&access).await.is_empty());
}

pub(super) async fn a_token_that_is_listed_again_or_otherwise_is_as_it_is_listed(access: Shared) {
    let [alice, bob] = [listed(1, "alice"), listed(2, "bob")];
    set(&access, &[alice.clone(), bob.clone()]).await;
    set(&access, &[]).await;
    assert_eq!(set(&access, &[alice.clone(), bob.clone()]).await, (2, 0, vec![]), "it comes back");
    assert_eq!(valid(&access).await, viewers(&["alice", "bob"]));
    let swapped = [FileToken { name: "bob".into(), ..alice.clone() }, FileToken { name: "alice".into(), ..bob }];
    assert_eq!(set(&access, &swapped).await, (2, 2, vec![]));
    assert_eq!(access.token(alice.prefix.clone()).await.unwrap().unwrap().0.name, "bob");
    let kept = access.token(alice.prefix.clone()).await.unwrap().unwrap().0;
    assert!(open(&access, session("of a viewer", &kept, kept.created), hours_ago(1)).await);
    let admin = FileToken { role: Role::Admin, ..alice.clone() };
    assert_eq!(set(&access, std::slice::from_ref(&admin)).await, (1, 2, vec![]));
    assert_eq!(valid(&access).await, [("alice".to_owned(), Role::Admin)]);
    assert!(access.session(Digest::of("of a viewer")).await.unwrap().is_none());
    let other = FileToken { digest: Digest::of("another secret"), ..admin };
    assert_eq!(set(&access, &[other]).await, (1, 1, vec![]));
    let (_, digest) = access.token(alice.prefix).await.unwrap().unwrap();
    assert_eq!(digest, Digest::of("another secret"));
}

pub(super) async fn a_session_is_opened_only_with_the_secret_that_its_token_has(access: Shared) {
    let old = listed(1, "alice");
    let new = FileToken { role: Role::Admin, digest: Digest::of("another secret"), ..old.clone() };
    set(&access, std::slice::from_ref(&old)).await;
    let kept = access.token(old.prefix.clone()).await.unwrap().unwrap().0;
    let later = noon() + SignedDuration::from_hours(1);
    let open = async |secret: &str, verified: Digest| {
        let opened = access.open_session(session(secret, &kept, later), verified, noon()).await.unwrap();
        assert_eq!(opened, access.session(Digest::of(secret)).await.unwrap().is_some(), "{secret}");
        opened
    };
    assert!(open("before", old.digest).await);
    set(&access, std::slice::from_ref(&new)).await;
    assert!(access.session(Digest::of("before")).await.unwrap().is_none(), "opened before, it has ended");
    assert!(!open("after", old.digest).await, "verified before, it is not opened after");
    assert!(open("new", new.digest).await);
    set(&access, &[]).await;
    assert!(!open("not listed", new.digest).await);
    set(&access, std::slice::from_ref(&old)).await;
    assert!(open("back", old.digest).await && !open("of the one before", new.digest).await);
    access.revoke_token("alice".into(), noon()).await.unwrap();
    assert!(!open("revoked", old.digest).await);

    let made = create(&access, 2, "bob").await;
    let at = async |secret: &str, now| {
        access.open_session(session(secret, &made, later), Digest::of("bob"), now).await.unwrap()
    };
    let expires = made.expires.unwrap();
    assert!(at("just", expires - SignedDuration::from_millis(1)).await && !at("too late", expires).await);
}

pub(super) async fn a_listed_token_that_was_revoked_by_hand_stays_so(access: Shared) {
    let alice = listed(1, "alice");
    let only = std::slice::from_ref(&alice);
    let refused = vec![RefusedToken::Revoked { prefix: alice.prefix.clone(), name: "alice".into() }];
    set(&access, only).await;
    access.revoke_token("alice".into(), hours_ago(1)).await.unwrap().unwrap();
    assert_eq!(set(&access, only).await, (0, 0, refused.clone()));
    let trimmed = access.prune_auth(noon(), noon()).await.unwrap();
    assert_eq!((trimmed.tokens, set(&access, only).await), (0, (0, 0, refused.clone())), "and is not forgotten");
    set(&access, &[]).await;
    assert_eq!(set(&access, only).await, (0, 0, refused.clone()), "and when it comes back");
    assert!(valid(&access).await.is_empty());
    let replaced = FileToken { name: "alice".into(), ..listed(2, "alice") };
    assert_eq!(set(&access, &[replaced]).await, (1, 0, vec![]), "its name is free");
    access.prune_auth(noon(), noon()).await.unwrap();
    assert!(access.token(alice.prefix).await.unwrap().is_none(), "what is not listed is forgotten in time");

    let gone = listed(3, "gone");
    let only = std::slice::from_ref(&gone);
    set(&access, only).await;
    access.set_listed_tokens(vec![], hours_ago(1)).await.unwrap();
    access.revoke_token(gone.prefix.clone(), noon()).await.unwrap().unwrap();
    let refused = RefusedToken::Revoked { prefix: gone.prefix.clone(), name: "gone".into() };
    assert_eq!(set(&access, only).await, (0, 0, vec![refused.clone()]), "also if it was not listed just then");

    set(&access, &[]).await;
    let trimmed = access.prune_auth(noon(), noon()).await.unwrap();
    assert_eq!((trimmed.tokens, set(&access, only).await), (0, (0, 0, vec![refused])), "it was revoked at noon");
    set(&access, &[]).await;
    access.revoke_token(gone.prefix.clone(), noon() + SignedDuration::from_hours(1)).await.unwrap().unwrap();
    let later = noon() + SignedDuration::from_millis(1);
    access.prune_auth(later, later).await.unwrap();
    assert_eq!(
        set(&access, only).await,
        (1, 0, vec![]),
        "until it is forgotten, which a second revocation puts off by nothing"
    );
}

pub(super) async fn a_token_made_by_hand_is_left_alone_by_what_is_listed(access: Shared) {
    let made = create(&access, 1, "alice").await;
    let [same_name, same_prefix] = [listed(2, "alice"), listed(1, "bob")];
    let expected = vec![
        RefusedToken::NameTaken { prefix: same_name.prefix.clone(), name: "alice".into(), by: made.prefix.clone() },
        RefusedToken::PrefixTaken { prefix: same_prefix.prefix.clone(), name: "bob".into() },
    ];
    let both = [same_name.clone(), same_prefix, listed(3, "carol")];
    assert_eq!(set(&access, &both).await, (1, 0, expected.clone()));
    assert_eq!(set(&access, &both).await, (0, 0, expected));
    assert_eq!(access.token(made.prefix.clone()).await.unwrap().unwrap().0, made);
    set(&access, &[]).await;
    assert_eq!(valid(&access).await, viewers(&["alice"]));
    access.revoke_token(made.prefix, noon()).await.unwrap();
    assert_eq!(set(&access, &[same_name]).await, (1, 0, vec![]), "its name is free");
}

pub(super) async fn of_those_that_keep_a_list_at_once_one_does_it(access: Shared) {
    let mut makers = JoinSet::new();
    for _ in 0..8 {
        let access = Shared::clone(&access);
        makers.spawn(async move { set(&access, &[listed(1, "alice"), listed(2, "bob")]).await });
    }
    let created: u64 = makers.join_all().await.into_iter().map(|(created, ..)| created).sum();
    assert_eq!((created, commands(&access).await.len()), (2, 2));
}

pub(super) async fn whether_any_token_is_valid_is_known(access: Shared) {
    let has_valid = async |now: Timestamp| access.has_valid_token(now).await.unwrap();
    assert!(!has_valid(noon()).await);
    let made = create(&access, 1, "alice").await;
    let expires = made.expires.unwrap();
    assert!(has_valid(noon()).await && !has_valid(expires).await);
    assert!(has_valid(expires - SignedDuration::from_millis(1)).await);
    access.revoke_token(made.prefix, noon()).await.unwrap();
    assert!(!has_valid(noon()).await);
    set(&access, &[listed(2, "bob")]).await;
    assert!(has_valid(noon()).await && has_valid(expires).await);
    set(&access, &[]).await;
    assert!(!has_valid(noon()).await);
}
