//! All that the HTTP port answers to, and what each route needs. The guard turns away what is not in this table, so that
//! no route is reachable without an entry.

use http::Method;

use super::store::Role;

/// A method of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The method; `GET` stands for `HEAD` too.
    pub method: Method,
    /// The path, with its parameters in braces.
    pub path: &'static str,
    /// What is needed for it.
    pub needs: Needs,
}

/// What a request needs to be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: it tells nothing that was stored.
    Nothing,
    /// That a page of this backend sent it.
    OwnPage,
    /// One of the senders' tokens, where ingest is closed.
    Sender,
    /// Nothing, but it tells what is stored to readers alone; others are asked to sign in.
    Front,
    /// A reader of this role, for a page; others are sent to the front page.
    Page(Role),
    /// A reader of this role, for a program; others are refused.
    Api(Role),
}

/// Every route.
pub static ROUTES: [Route; 17] = [
    route(Method::POST, "/v1/metrics", Needs::Sender),
    route(Method::POST, "/v1/logs", Needs::Sender),
    route(Method::POST, "/stats", Needs::Sender),
    route(Method::POST, "/create", Needs::Sender),
    route(Method::POST, "/update", Needs::Sender),
    route(Method::POST, "/delete", Needs::Sender),
    route(Method::GET, "/", Needs::Front),
    route(Method::GET, "/access-log", Needs::Page(Role::Admin)),
    route(Method::POST, "/sign-in", Needs::OwnPage),
    route(Method::POST, "/sign-out", Needs::Page(Role::Viewer)),
    route(Method::GET, "/style.css", Needs::Nothing),
    route(Method::GET, "/icon.svg", Needs::Nothing),
    route(Method::GET, "/api/v1/insights/overview", Needs::Api(Role::Viewer)),
    route(Method::GET, "/api/v1/access-log", Needs::Api(Role::Admin)),
    route(Method::DELETE, "/api/v1/installations/{uuid}", Needs::Api(Role::Admin)),
    route(Method::GET, "/livez", Needs::Nothing),
    route(Method::GET, "/readyz", Needs::Nothing),
];

const fn route(method: Method, path: &'static str, needs: Needs) -> Route {
    Route { method, path, needs }
}

/// The route of a request to a path that was matched.
pub(super) fn find(method: &Method, path: &str) -> Option<&'static Route> {
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    ROUTES.iter().find(|route| route.method == *method && route.path == path)
}

/// The methods of a path, as the header `Allow` lists them.
pub(super) fn allowed(path: &str) -> String {
    let methods = ROUTES.iter().filter(|route| route.path == path).map(|route| route.method.to_string());
    methods.collect::<Vec<_>>().join(", ")
}
