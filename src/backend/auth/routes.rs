//! All that the HTTP port answers to, and what each route needs. The guard turns away what is not in this table, so that
//! no route is reachable without an entry.

use http::Method;

use crate::backend::store::Role;

/// A method of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The method; `GET` stands for `HEAD` too.
    pub method: Method,
    /// The path, with its parameters in braces.
    pub path: &'static str,
    /// What is needed for it.
    pub needs: RouteAccess,
}

/// What a request needs to be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteAccess {
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
    route(Method::POST, "/v1/metrics", RouteAccess::Sender),
    route(Method::POST, "/v1/logs", RouteAccess::Sender),
    route(Method::POST, "/stats", RouteAccess::Sender),
    route(Method::POST, "/create", RouteAccess::Sender),
    route(Method::POST, "/update", RouteAccess::Sender),
    route(Method::POST, "/delete", RouteAccess::Sender),
    route(Method::GET, "/", RouteAccess::Front),
    route(Method::GET, "/audit-log", RouteAccess::Page(Role::Admin)),
    route(Method::POST, "/sign-in", RouteAccess::OwnPage),
    route(Method::POST, "/sign-out", RouteAccess::Page(Role::Viewer)),
    route(Method::GET, "/style.css", RouteAccess::Nothing),
    route(Method::GET, "/icon.svg", RouteAccess::Nothing),
    route(Method::GET, "/api/v1/insights/overview", RouteAccess::Api(Role::Viewer)),
    route(Method::GET, "/api/v1/audit-log", RouteAccess::Api(Role::Admin)),
    route(Method::DELETE, "/api/v1/installations/{uuid}", RouteAccess::Api(Role::Admin)),
    route(Method::GET, "/livez", RouteAccess::Nothing),
    route(Method::GET, "/readyz", RouteAccess::Nothing),
];

const fn route(method: Method, path: &'static str, needs: RouteAccess) -> Route {
    Route { method, path, needs }
}

/// The route of a request to a path that was matched.
pub(in crate::backend) fn find(method: &Method, path: &str) -> Option<&'static Route> {
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    ROUTES.iter().find(|route| route.method == *method && route.path == path)
}

/// The methods of a path, as the header `Allow` lists them.
pub(in crate::backend) fn allowed(path: &str) -> String {
    let methods = ROUTES.iter().filter(|route| route.path == path).map(|route| route.method.to_string());
    methods.collect::<Vec<_>>().join(", ")
}
