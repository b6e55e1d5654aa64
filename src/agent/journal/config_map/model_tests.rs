//! A model test of the two ConfigMaps: random writes of several terms, some of which no longer lead, with requests that
//! fail, whose answers are lost, or that arrive late, and with what others do to the ConfigMaps.
//!
//! After each request that the API server has applied, an agent may crash and another begin. So after each of them, what
//! is stored must be read as exactly what the last head was written for.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Method, Request as HttpRequest, Response};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::client::Body;
use proptest::prelude::*;
use serde_json::{Value, json};
use tower::service_fn;
use uuid::Uuid;

use super::*;
use crate::agent::journal::base::FoundBase;
use crate::agent::journal::codec::KEY_ROWS;
use crate::agent::journal::rows::PackedRows;
use crate::agent::observe::PersistedRow;
use crate::catalog::{KubernetesVersion, Status};
use crate::process::lock::lock;

/// The number of control planes: more than a delta holds before a base is written.
const CONTROL_PLANES: u8 = 120;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The request is not applied.
    Fails,
    /// The request is applied, and fails for the agent.
    AnswerLost,
    /// The request fails for the agent, and is applied later.
    Late,
}

/// A deed of somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Injury {
    DeleteHead,
    DeleteBase,
    /// Puts the content of an earlier moment in place, into the object that exists.
    RestoreHead,
    RestoreBase,
    RestoreBoth,
}

#[derive(Debug, Clone)]
enum TermStep {
    /// Begins a term, which does not end the others for themselves.
    Open,
    /// Changes the control planes from `first` on, and writes.
    Write {
        term: usize,
        first: u8,
        count: u8,
        minor: u8,
    },
    /// Lets a fault happen to a request after this number of others.
    Inject(usize, Fault),
    /// Applies a late request.
    Arrive(usize),
    Backup,
    Injure(Injury),
    Erase,
}

fn step() -> impl Strategy<Value = TermStep> {
    let fault = prop::sample::select(vec![Fault::Fails, Fault::AnswerLost, Fault::Late]);
    let injury = prop::sample::select(vec![
        Injury::DeleteHead,
        Injury::DeleteBase,
        Injury::RestoreHead,
        Injury::RestoreBase,
        Injury::RestoreBoth,
    ]);
    // The newest term writes most, and a removed control plane is one of version 0.
    let write = (prop_oneof![4 => Just(0usize), 1 => 1..3usize], 0..CONTROL_PLANES, 1..60u8, 0..4u8);
    prop_oneof![
        3 => Just(TermStep::Open),
        16 => write.prop_map(|(term, first, count, minor)| TermStep::Write { term, first, count, minor }),
        4 => (0..3usize, fault).prop_map(|(after, fault)| TermStep::Inject(after, fault)),
        3 => (0..3usize).prop_map(TermStep::Arrive),
        1 => Just(TermStep::Backup),
        1 => injury.prop_map(TermStep::Injure),
        1 => Just(TermStep::Erase),
    ]
}

/// The deeds of others to an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Injured {
    No,
    /// The base was restored or deleted: the agent goes on from what was written, or not at all.
    Base,
    /// The head was restored: the agent goes on from what was written before, or not at all.
    Head,
}

#[derive(Debug, Clone)]
struct Request {
    method: Method,
    name: String,
    body: Value,
    /// The state that a head is written for; `None` for the requests of a beginning term.
    state: Option<JournalState>,
}

/// The API server.
struct ModelServer {
    revision: u64,
    objects: BTreeMap<String, Value>,
    backup: BTreeMap<String, Value>,
    fault: Option<(usize, Fault)>,
    /// True if a request of the write that is being made has failed by a fault.
    has_failed: bool,
    late: Vec<Request>,
    /// The state of the write that is being made; `None` while a term begins.
    writing: Option<JournalState>,
    /// The state that the head was last written for.
    expected: Option<JournalState>,
    /// Each row that was ever written, and its absence.
    rows: BTreeSet<(Uuid, Option<String>)>,
    injured: Injured,
    /// The number of bases that were written.
    bases: usize,
}

impl ModelServer {
    fn new() -> Self {
        Self {
            revision: 10,
            objects: BTreeMap::new(),
            backup: BTreeMap::new(),
            fault: None,
            has_failed: false,
            late: Vec::new(),
            writing: None,
            expected: None,
            rows: BTreeSet::new(),
            injured: Injured::No,
            bases: 0,
        }
    }

    fn receive(&mut self, request: Request) -> (u16, Value) {
        let error = (500, json!({"kind": "Status", "code": 500, "message": "", "reason": "InternalError"}));
        match &mut self.fault {
            Some((0, fault)) => {
                let fault = *fault;
                (self.fault, self.has_failed) = (None, true);
                match fault {
                    Fault::Fails => {}
                    Fault::AnswerLost => drop(self.apply(request)),
                    Fault::Late => self.late.push(request),
                }
                return error;
            }
            Some((others, _)) => *others -= 1,
            None => {}
        }
        self.apply(request)
    }

    fn apply(&mut self, Request { method, name, body, state }: Request) -> (u16, Value) {
        let refused = |code: u16| {
            let reason = if code == 404 { "NotFound" } else { "Conflict" };
            (code, json!({"kind": "Status", "code": code, "message": "", "reason": reason}))
        };
        let found = self.objects.get(&name);
        let asked = if method == Method::DELETE { &body["preconditions"] } else { &body["metadata"] };
        let is_erasure = method == Method::DELETE && asked.is_null();
        let is_as_asked = |found: &Value| {
            ["uid", "resourceVersion"].iter().all(|key| asked[key].is_null() || asked[key] == found["metadata"][key])
        };
        let applied = match (method.as_str(), found) {
            ("GET", Some(found)) => return (200, found.clone()),
            ("POST", None) => {
                assert!(state.is_none(), "{name} is created by a write");
                let mut created = body;
                created["metadata"]["uid"] = Uuid::new_v4().to_string().into();
                Some(created)
            }
            ("PUT" | "DELETE", Some(found)) if !is_as_asked(found) => return refused(409),
            ("PUT", Some(_)) => Some(body),
            ("DELETE", Some(_)) => None,
            ("POST", Some(_)) => return refused(409),
            _ => return refused(404),
        };
        if name == BASE_NAME && is_erasure {
            // A late request of an erasure, which deletes whatever is there.
            self.injured = self.injured.max(Injured::Base);
        }
        self.store(&name, applied.clone());
        self.bases += usize::from(name == BASE_NAME && state.is_some());
        if name == NAME {
            self.wrote_head(state);
        }
        self.check();
        (200, applied.map_or_else(|| json!({}), |_| self.objects[&name].clone()))
    }

    fn store(&mut self, name: &str, object: Option<Value>) {
        self.revision += 1;
        match object {
            Some(mut object) => {
                object["metadata"]["resourceVersion"] = self.revision.to_string().into();
                self.objects.insert(name.to_owned(), object);
            }
            None => drop(self.objects.remove(name)),
        }
    }

    fn config_map(&self, name: &str) -> Option<ConfigMap> {
        self.objects.get(name).map(|object| serde_json::from_value(object.clone()).unwrap())
    }

    /// Takes note of a head that was written, created or deleted.
    fn wrote_head(&mut self, state: Option<JournalState>) {
        let Some(found) = self.config_map(NAME) else {
            self.expected = None;
            return;
        };
        let (head, _) = adopt::decode(&found).unwrap();
        let before = self.expected.take().filter(|expected| expected.installation == head.installation);
        if before.is_none() {
            (self.injured, self.rows) = (Injured::No, BTreeSet::new());
        }
        let before = before.unwrap_or_else(|| head.clone().with_rows(Vec::new()));
        let expected = match state {
            Some(state) => state,
            // What was restored says what else is in it; the rows are compared one by one.
            None if self.injured == Injured::Head => head.clone().with_rows(before.rows),
            None => JournalState { epoch: head.epoch, ..before },
        };
        assert_eq!(JournalState { rows: Vec::new(), ..expected.clone() }, head.with_rows(Vec::new()));
        let written = versions(&expected.rows);
        self.rows.extend(all_uids().map(|uid| (uid, written.get(&uid).cloned())));
        self.expected = Some(expected);
    }

    /// Reads what is stored as a term does that begins.
    fn read(&self) -> Option<JournalState> {
        let (head, origin) = adopt::decode(&self.config_map(NAME)?).unwrap();
        let base = match FoundBase::of(&head, self.config_map(BASE_NAME).as_ref()).unwrap() {
            FoundBase::Own(base) => base.rows,
            FoundBase::NotNeeded => PackedRows::default(),
            FoundBase::Missing | FoundBase::Other => return None,
        };
        let rows = codec::unpack_rows(KEY_ROWS, &head.delta.apply(&base)).unwrap();
        (origin == Origin::Own).then(|| head.with_rows(rows))
    }

    /// Checks that what is stored is what was written, as far as nobody else has changed it.
    fn check(&self) {
        let Some(expected) = &self.expected else { return };
        let read = self.read().map(sorted);
        match (self.injured, read) {
            // A head that was just created is no journal yet.
            (Injured::No, None) => assert!(expected.epoch == 0 || !self.objects.contains_key(NAME), "{expected:?}"),
            (Injured::No | Injured::Base, Some(read)) => assert_eq!(read, sorted(expected.clone())),
            (Injured::Base | Injured::Head, None) => {}
            (Injured::Head, Some(read)) => {
                let read = versions(&read.rows);
                assert!(all_uids().all(|uid| self.rows.contains(&(uid, read.get(&uid).cloned()))), "{read:?}");
            }
        }
    }

    fn injure(&mut self, injury: Injury) {
        let (injured, names, is_restore) = match injury {
            Injury::DeleteHead => (Injured::No, &[NAME][..], false),
            Injury::DeleteBase => (Injured::Base, &[BASE_NAME][..], false),
            Injury::RestoreHead => (Injured::Head, &[NAME][..], true),
            Injury::RestoreBase => (Injured::Base, &[BASE_NAME][..], true),
            Injury::RestoreBoth => (Injured::Head, &[NAME, BASE_NAME][..], true),
        };
        for name in names {
            let Some(found) = self.objects.get(*name).cloned() else { continue };
            if is_restore {
                let Some(mut restored) = self.backup.get(*name).cloned() else { continue };
                restored["metadata"]["uid"] = found["metadata"]["uid"].clone();
                self.store(name, Some(restored));
            } else {
                self.store(name, None);
            }
            self.injured = self.injured.max(injured);
        }
        let installation = self.config_map(NAME).map(|found| adopt::decode(&found).unwrap().0.installation);
        if self.expected.as_ref().map(|expected| expected.installation) != installation {
            // A head of an earlier installation, which goes on if its rows are complete.
            self.expected = self.read();
            let rows = self.expected.as_ref().map(|restored| versions(&restored.rows)).unwrap_or_default();
            self.rows = all_uids().map(|uid| (uid, rows.get(&uid).cloned())).collect();
        }
    }
}

fn all_uids() -> impl Iterator<Item = Uuid> {
    (0..CONTROL_PLANES).map(|number| Uuid::from_u128(number.into()))
}

fn versions(rows: &[PersistedRow]) -> BTreeMap<Uuid, String> {
    rows.iter().map(|row| (row.uid, row.reported.to_string())).collect()
}

fn sorted(mut state: JournalState) -> JournalState {
    state.rows.sort_by_key(|row| row.uid);
    state
}

/// The server, and the terms that run for all they know, newest first.
struct TermWorld {
    server: Arc<Mutex<ModelServer>>,
    store: JournalStore,
    terms: Vec<(FencedJournal, JournalState)>,
}

impl TermWorld {
    fn new() -> Self {
        let server = Arc::new(Mutex::new(ModelServer::new()));
        let shared = Arc::clone(&server);
        let service = service_fn(move |request: HttpRequest<Body>| {
            let server = Arc::clone(&shared);
            async move {
                let method = request.method().clone();
                let name = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
                let bytes = request.into_body().collect_bytes().await.unwrap();
                let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
                let name =
                    if method == Method::POST { body["metadata"]["name"].as_str().unwrap().to_owned() } else { name };
                let state = lock(&server).writing.clone();
                let (code, body) = lock(&server).receive(Request { method, name, body, state });
                let body = Body::from(body.to_string().into_bytes());
                Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
            }
        });
        let client = Client::new(service, "default");
        Self { server, store: JournalStore { client, namespace: "default".to_owned(), owner: None }, terms: Vec::new() }
    }

    async fn step(&mut self, step: TermStep) {
        match step {
            TermStep::Open => self.open().await,
            TermStep::Write { term, first, count, minor } => self.write(term, first, count, minor).await,
            TermStep::Inject(after, fault) => lock(&self.server).fault = Some((after, fault)),
            TermStep::Arrive(which) => {
                let mut server = lock(&self.server);
                if !server.late.is_empty() {
                    let at = which % server.late.len();
                    let request = server.late.remove(at);
                    server.apply(request);
                }
            }
            TermStep::Backup => {
                let mut server = lock(&self.server);
                server.backup = server.objects.clone();
            }
            TermStep::Injure(injury) => lock(&self.server).injure(injury),
            TermStep::Erase => {
                let erased = self.store.erase().await;
                let server = lock(&self.server);
                assert!(erased.is_err() || server.objects.is_empty(), "{:?}", server.objects.keys());
            }
        }
    }

    async fn open(&mut self) {
        let found = lock(&self.server).read();
        let Ok((journal, state)) = self.store.open("http://127.0.0.1:1").await else { return };
        let mut server = lock(&self.server);
        match found {
            // It goes on from what it found, whatever that is.
            Some(found) => assert_eq!(sorted(JournalState { epoch: found.epoch + 1, ..found }), sorted(state.clone())),
            None => assert!(state.rows.is_empty() && !state.baseline && state.epoch == 1, "{state:?}"),
        }
        server.expected = Some(state.clone());
        server.check();
        drop(server);
        self.terms.insert(0, (journal, state));
    }

    async fn write(&mut self, term: usize, first: u8, count: u8, minor: u8) {
        if term >= self.terms.len() {
            return;
        }
        let (journal, state) = &mut self.terms[term];
        state.baseline = true;
        let changed = |uid: Uuid| (u128::from(first)..u128::from(first) + u128::from(count)).contains(&uid.as_u128());
        state.rows.retain(|row| !changed(row.uid));
        let reported = KubernetesVersion::normalize(&format!("v1.{minor}.0"));
        let uids = all_uids().filter(|uid| changed(*uid) && minor > 0);
        let row = |uid| PersistedRow { uid, reported, status: Status::Ready, deleted_reported: false };
        state.rows.extend(uids.map(row));
        let was_empty = lock(&self.server).objects.is_empty();
        {
            let mut server = lock(&self.server);
            (server.writing, server.has_failed) = (Some(state.clone()), false);
        }
        let result = journal.write(state.clone()).await;
        let mut server = lock(&self.server);
        server.writing = None;
        assert!(!was_empty || server.objects.is_empty(), "a write has brought back what was deleted");
        match result {
            Ok(()) => assert_eq!(server.expected.as_ref(), Some(&*state), "what is acknowledged is stored"),
            Err(JournalWriteError::Failed(error)) => assert!(server.has_failed, "{error}"),
            Err(JournalWriteError::Fenced(_)) => {
                drop(server);
                drop(self.terms.remove(term));
            }
        }
    }
}

/// Runs steps. Returns the number of bases that were written.
fn run(steps: Vec<TermStep>) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut world = TermWorld::new();
        for step in steps {
            world.step(step).await;
        }
        // Whatever has happened, an agent that is left alone begins a term and writes.
        lock(&world.server).fault = None;
        let terms = world.terms.len();
        world.open().await;
        assert_eq!(world.terms.len(), terms + 1);
        world.write(0, 0, 1, 1).await;
        assert_eq!(world.terms.len(), terms + 1);
        lock(&world.server).bases
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_written_last_is_read_after_each_request(steps in prop::collection::vec(step(), 0..60)) {
        run(steps);
    }
}

#[test]
fn a_base_is_written_where_the_delta_has_grown() {
    let write = |first, minor| TermStep::Write { term: 0, first, count: 59, minor };
    assert_eq!(run(vec![TermStep::Open, write(0, 1), write(0, 2)]), 0);
    assert_eq!(run(vec![TermStep::Open, write(0, 1), write(59, 1), write(0, 2)]), 1);
}

#[test]
fn a_base_of_a_term_that_has_ended_changes_nothing() {
    let write = |term, first, minor| TermStep::Write { term, first, count: 59, minor };
    let late = TermStep::Inject(0, Fault::Late);
    let begin = [TermStep::Open, write(0, 0, 1), write(0, 59, 1), late, write(0, 0, 2), TermStep::Open];
    // The new term has written no base, or one.
    run([&begin[..], &[TermStep::Arrive(0), write(0, 0, 3)]].concat());
    let bases = run([&begin[..], &[write(0, 0, 3), TermStep::Arrive(0), write(0, 0, 1), TermStep::Open]].concat());
    assert_eq!(bases, 1);
}
