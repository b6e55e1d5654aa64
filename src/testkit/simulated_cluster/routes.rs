//! The routes of the simulated API: from an HTTP request through the store to a response.

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
use super::parameters::{ListParameters, write_continue};
use super::status_error::StatusError;
use super::store::{Deletion, Page, Preconditions};
use super::{SimulatedCluster, watch};

/// The state of a handler: a cluster, and the kind that it serves.
#[derive(Clone)]
struct HandlerState {
    cluster: SimulatedCluster,
    kind: Kind,
}

type ApiResponse = Result<Response, StatusError>;
type ApiRequest = Result<Query<ListParameters>, QueryRejection>;

impl IntoResponse for StatusError {
    fn into_response(self) -> Response {
        (self.code(), Json(self.to_status())).into_response()
    }
}

/// Returns the router of the simulated API.
pub(super) fn router(cluster: &SimulatedCluster) -> Router {
    let version = cluster.kubernetes_version().to_owned();
    let by_kind = Kind::ALL.into_iter().map(|kind| routes_of_kind(HandlerState { cluster: cluster.clone(), kind }));
    by_kind
        .fold(Router::new(), Router::merge)
        .route("/version", get(|| async move { Json(version_info(&version)) }))
        .fallback(|| async { StatusError::NoSuchPath })
        .method_not_allowed_fallback(|| async { StatusError::MethodNotAllowed })
}

fn routes_of_kind(state: HandlerState) -> Router {
    let (base, plural) = (state.kind.base_path(), state.kind.plural());
    let router = if state.kind.is_namespaced() {
        Router::new()
            .route(&format!("{base}/{plural}"), get(list_everywhere))
            .route(&format!("{base}/namespaces/{{namespace}}/{plural}"), get(list_namespace).post(create))
            .route(&format!("{base}/namespaces/{{namespace}}/{plural}/{{name}}"), object_routes())
    } else {
        Router::new().route(&format!("{base}/{plural}"), get(list_everywhere))
    };
    router.with_state(state)
}

fn object_routes() -> MethodRouter<HandlerState> {
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

async fn list_everywhere(State(state): State<HandlerState>, request: ApiRequest) -> ApiResponse {
    collection(&state, None, request)
}

async fn list_namespace(
    State(state): State<HandlerState>,
    Path(namespace): Path<String>,
    request: ApiRequest,
) -> ApiResponse {
    collection(&state, Some(&namespace), request)
}

fn collection(
    HandlerState { cluster, kind }: &HandlerState,
    namespace: Option<&str>,
    request: ApiRequest,
) -> ApiResponse {
    let Query(parameters) = request.map_err(|error| StatusError::BadRequest(error.body_text()))?;
    let filter = parameters.filter(namespace)?;
    if parameters.watch {
        let watch_request = parameters.watch(*kind, filter)?;
        return Ok(json_body(Body::from_stream(watch::stream(cluster.clone(), watch_request))));
    }
    let page_request = parameters.page()?;
    let page = {
        let store = cluster.store();
        store.check_reached(parameters.version()?)?;
        store.list(*kind, &filter, &page_request)?
    };
    Ok(list(*kind, page))
}

/// Returns a list. Its items are sent as they are stored, since copying them would double the memory of a request.
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

async fn read(State(state): State<HandlerState>, Path((namespace, name)): Path<(String, String)>) -> ApiResponse {
    let object = state.cluster.store().get(state.kind, &namespace, &name)?;
    Ok(object_response(StatusCode::OK, &object))
}

async fn create(State(state): State<HandlerState>, Path(namespace): Path<String>, body: Bytes) -> ApiResponse {
    let HandlerState { cluster, kind } = state;
    let object = cluster.write(|store, context| store.create(kind, &namespace, parse(&body)?, context))?;
    Ok(object_response(StatusCode::CREATED, &object))
}

async fn replace(
    State(state): State<HandlerState>,
    Path((namespace, name)): Path<(String, String)>,
    body: Bytes,
) -> ApiResponse {
    let HandlerState { cluster, kind } = state;
    let object = cluster.write(|store, _| store.replace(kind, &namespace, &name, parse(&body)?))?;
    Ok(object_response(StatusCode::OK, &object))
}

async fn delete(
    State(state): State<HandlerState>,
    Path((namespace, name)): Path<(String, String)>,
    body: Bytes,
) -> ApiResponse {
    let HandlerState { cluster, kind } = state;
    let preconditions = preconditions(&body)?;
    match cluster.write(|store, context| store.delete(kind, &namespace, &name, &preconditions, context))? {
        Deletion::Pending(object) => Ok(object_response(StatusCode::OK, &object)),
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

/// Reads the preconditions from a body of `DeleteOptions`, which may be empty.
fn preconditions(body: &[u8]) -> Result<Preconditions, StatusError> {
    let options = if body.is_empty() { Value::Null } else { parse(body)? };
    let expected = |field: &str| options["preconditions"][field].as_str().map(str::to_owned);
    Ok(Preconditions { uid: expected("uid"), resource_version: expected("resourceVersion") })
}

fn parse(body: &[u8]) -> Result<Value, StatusError> {
    serde_json::from_slice(body).map_err(|error| StatusError::BadRequest(format!("the body is not JSON: {error}")))
}

fn object_response(code: StatusCode, object: &Object) -> Response {
    (code, json_body(object.json().into())).into_response()
}
