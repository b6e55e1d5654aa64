//! The paths of the simulated API over HTTP: reads a request, asks the store, writes the answer.

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use axum::{Json, Router};
use bytes::Bytes;
use futures::stream;
use http::{StatusCode, header};
use serde_json::{Value, json};

use super::kind::Kind;
use super::object::Object;
use super::parameters::{Parameters, write_continue};
use super::status_error::StatusError;
use super::store::{Deletion, Page, Preconditions};
use super::{Cluster, watch};

/// One kind of one cluster: what a handler works on.
#[derive(Clone)]
struct Served {
    cluster: Cluster,
    kind: Kind,
}

type ApiResponse = Result<Response, StatusError>;
type ApiRequest = Result<Query<Parameters>, QueryRejection>;

impl IntoResponse for StatusError {
    fn into_response(self) -> Response {
        (self.code(), Json(self.to_status())).into_response()
    }
}

/// Everything that is served.
pub(super) fn router(cluster: &Cluster) -> Router {
    let version = cluster.kubernetes_version().to_owned();
    let served = Kind::ALL.into_iter().map(|kind| of_kind(Served { cluster: cluster.clone(), kind }));
    served
        .fold(Router::new(), Router::merge)
        .route("/version", get(|| async move { Json(version_info(&version)) }))
        .fallback(|| async { StatusError::NoSuchPath })
        .method_not_allowed_fallback(|| async { StatusError::MethodNotAllowed })
}

fn of_kind(served: Served) -> Router {
    let (base, plural) = (served.kind.base_path(), served.kind.plural());
    let router = if served.kind.namespaced() {
        Router::new()
            .route(&format!("{base}/{plural}"), get(list_everywhere))
            .route(&format!("{base}/namespaces/{{namespace}}/{plural}"), get(list_namespace).post(create))
            .route(&format!("{base}/namespaces/{{namespace}}/{plural}/{{name}}"), named())
    } else {
        Router::new().route(&format!("{base}/{plural}"), get(list_everywhere))
    };
    router.with_state(served)
}

fn named() -> MethodRouter<Served> {
    get(read).put(replace).delete(delete)
}

fn version_info(version: &str) -> Value {
    let mut parts = version.trim_start_matches('v').split('.');
    json!({
        "major": parts.next().unwrap_or_default(),
        "minor": parts.next().unwrap_or_default(),
        "gitVersion": version,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": "linux/amd64",
    })
}

async fn list_everywhere(State(served): State<Served>, asked: ApiRequest) -> ApiResponse {
    collection(&served, None, asked)
}

async fn list_namespace(State(served): State<Served>, Path(namespace): Path<String>, asked: ApiRequest) -> ApiResponse {
    collection(&served, Some(&namespace), asked)
}

fn collection(Served { cluster, kind }: &Served, namespace: Option<&str>, asked: ApiRequest) -> ApiResponse {
    let Query(parameters) = asked.map_err(|error| StatusError::BadRequest(error.body_text()))?;
    let filter = parameters.filter(namespace)?;
    if parameters.watch {
        let request = parameters.watch(*kind, filter)?;
        return Ok(json_body(Body::from_stream(watch::stream(cluster.clone(), request))));
    }
    let request = parameters.page()?;
    let page = {
        let store = cluster.store();
        store.reached(parameters.version()?)?;
        store.list(*kind, &filter, &request)?
    };
    Ok(list(*kind, page))
}

/// A list whose items are sent as they are kept: copying them would double what a client costs.
fn list(kind: Kind, Page { version, items, rest }: Page) -> Response {
    let mut metadata = json!({ "resourceVersion": version.to_string() });
    if let Some((after, remaining)) = rest {
        metadata["continue"] = write_continue(version, &after).into();
        metadata["remainingItemCount"] = remaining.into();
    }
    let head = format!(
        r#"{{"kind":"{}List","apiVersion":"{}","metadata":{metadata},"items":["#,
        kind.name(),
        kind.api_version()
    );
    let items = items.into_iter().enumerate().flat_map(|(at, item)| {
        let comma = (at > 0).then(|| Bytes::from_static(b","));
        comma.into_iter().chain([item])
    });
    let frames = [Bytes::from(head)].into_iter().chain(items).chain([Bytes::from_static(b"]}")]);
    json_body(Body::from_stream(stream::iter(frames.map(Ok::<_, std::convert::Infallible>))))
}

fn json_body(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

async fn read(State(served): State<Served>, Path((namespace, name)): Path<(String, String)>) -> ApiResponse {
    let object = served.cluster.store().get(served.kind, &namespace, &name)?;
    Ok(answer(StatusCode::OK, &object))
}

async fn create(State(served): State<Served>, Path(namespace): Path<String>, body: Bytes) -> ApiResponse {
    let Served { cluster, kind } = served;
    let object = cluster.write(|store, stamp| store.create(kind, &namespace, parse(&body)?, stamp))?;
    Ok(answer(StatusCode::CREATED, &object))
}

async fn replace(
    State(served): State<Served>,
    Path((namespace, name)): Path<(String, String)>,
    body: Bytes,
) -> ApiResponse {
    let Served { cluster, kind } = served;
    let object = cluster.write(|store, _| store.replace(kind, &namespace, &name, parse(&body)?))?;
    Ok(answer(StatusCode::OK, &object))
}

async fn delete(
    State(served): State<Served>,
    Path((namespace, name)): Path<(String, String)>,
    body: Bytes,
) -> ApiResponse {
    let Served { cluster, kind } = served;
    let preconditions = preconditions(&body)?;
    match cluster.write(|store, stamp| store.delete(kind, &namespace, &name, &preconditions, stamp))? {
        Deletion::Awaited(object) => Ok(answer(StatusCode::OK, &object)),
        Deletion::Done => Ok(Json(json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": { "name": name, "group": kind.group(), "kind": kind.plural() },
        }))
        .into_response()),
    }
}

/// The conditions in a body of `DeleteOptions`, which may be left out.
fn preconditions(body: &[u8]) -> Result<Preconditions, StatusError> {
    let options = if body.is_empty() { Value::Null } else { parse(body)? };
    let wanted = |field: &str| options["preconditions"][field].as_str().map(str::to_owned);
    Ok(Preconditions { uid: wanted("uid"), resource_version: wanted("resourceVersion") })
}

fn parse(body: &[u8]) -> Result<Value, StatusError> {
    serde_json::from_slice(body).map_err(|error| StatusError::BadRequest(format!("the body is not JSON: {error}")))
}

fn answer(code: StatusCode, object: &Object) -> Response {
    (code, json_body(object.json().into())).into_response()
}
