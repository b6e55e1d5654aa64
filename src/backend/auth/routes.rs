//! The table of all routes of the HTTP port, with what each of them requires. The authorization layer rejects
//! every request that is not in it, so no route is reachable without an entry.

use http::Method;

use crate::backend::store::Role;

/// A method of a path, and what it requires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The method; `GET` stands for `HEAD` too.
    pub method: Method,
    /// The path, with its parameters in braces.
    pub path: &'static str,
    /// The requirement of a request.
    pub access: RouteAccess,
}

/// The requirement of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteAccess {
    /// None: the response holds no stored data, but for what was published.
    Public,
    /// A page of this backend that sends it.
    SameOrigin,
    /// A login code, which the handler checks: there is no page yet that could send it.
    LoginLink,
    /// A sender's token, if there is a file of them.
    Sender,
    /// None, but only readers get stored data; others get the login form.
    FrontPage,
    /// A reader with this role, for a page. Others are redirected to the front page.
    Page(Role),
    /// A reader with this role, for a program. Others get an error.
    Api(Role),
}

/// All routes.
pub static ROUTES: [Route; 41] = [
    route(Method::POST, "/v1/metrics", RouteAccess::Sender),
    route(Method::POST, "/v1/logs", RouteAccess::Sender),
    route(Method::POST, "/stats", RouteAccess::Sender),
    route(Method::POST, "/create", RouteAccess::Sender),
    route(Method::POST, "/update", RouteAccess::Sender),
    route(Method::POST, "/delete", RouteAccess::Sender),
    route(Method::GET, "/", RouteAccess::FrontPage),
    route(Method::GET, "/insights/versions", RouteAccess::Page(Role::Viewer)),
    route(Method::GET, "/insights/test-matrix", RouteAccess::Page(Role::Viewer)),
    route(Method::GET, "/insights/health", RouteAccess::Page(Role::Viewer)),
    route(Method::GET, "/insights/upgrades", RouteAccess::Page(Role::Viewer)),
    route(Method::GET, "/insights/deprecation", RouteAccess::Page(Role::Viewer)),
    route(Method::GET, "/insights/features", RouteAccess::Page(Role::Viewer)),
    route(Method::GET, "/insights/coverage", RouteAccess::Page(Role::Viewer)),
    route(Method::GET, "/audit-log", RouteAccess::Page(Role::Admin)),
    route(Method::GET, "/installations", RouteAccess::Page(Role::Admin)),
    route(Method::POST, "/sign-in", RouteAccess::SameOrigin),
    route(Method::GET, "/sign-in/{code}", RouteAccess::LoginLink),
    route(Method::POST, "/sign-out", RouteAccess::Page(Role::Viewer)),
    route(Method::GET, "/style.css", RouteAccess::Public),
    route(Method::GET, "/icon.svg", RouteAccess::Public),
    route(Method::GET, "/api/v1/insights/overview", RouteAccess::Api(Role::Viewer)),
    route(Method::GET, "/api/v1/insights/versions", RouteAccess::Api(Role::Viewer)),
    route(Method::GET, "/api/v1/insights/test-matrix", RouteAccess::Api(Role::Viewer)),
    route(Method::GET, "/api/v1/insights/health", RouteAccess::Api(Role::Viewer)),
    route(Method::GET, "/api/v1/insights/upgrades", RouteAccess::Api(Role::Viewer)),
    route(Method::GET, "/api/v1/insights/deprecation", RouteAccess::Api(Role::Viewer)),
    route(Method::GET, "/api/v1/insights/features", RouteAccess::Api(Role::Viewer)),
    route(Method::GET, "/api/v1/insights/coverage", RouteAccess::Api(Role::Viewer)),
    route(Method::GET, "/api/v1/openapi.json", RouteAccess::Public),
    route(Method::GET, "/api/v1/audit-log", RouteAccess::Api(Role::Admin)),
    route(Method::GET, "/api/v1/installations", RouteAccess::Api(Role::Admin)),
    route(Method::DELETE, "/api/v1/installations", RouteAccess::Api(Role::Admin)),
    route(Method::DELETE, "/api/v1/installations/{uuid}", RouteAccess::Api(Role::Admin)),
    route(Method::GET, "/api/v1/events", RouteAccess::Api(Role::Admin)),
    route(Method::DELETE, "/api/v1/events", RouteAccess::Api(Role::Admin)),
    route(Method::GET, "/public", RouteAccess::Public),
    route(Method::GET, "/public/{week}", RouteAccess::Public),
    route(Method::GET, "/api/v1/public/weeks", RouteAccess::Public),
    route(Method::GET, "/livez", RouteAccess::Public),
    route(Method::GET, "/readyz", RouteAccess::Public),
];

const fn route(method: Method, path: &'static str, access: RouteAccess) -> Route {
    Route { method, path, access }
}

/// Returns the route of a request, by its method and its matched path.
pub(super) fn find(method: &Method, path: &str) -> Option<&'static Route> {
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    ROUTES.iter().find(|route| route.method == *method && route.path == path)
}

/// Returns the methods of a path, as the header `Allow` lists them.
pub(super) fn allowed(path: &str) -> String {
    let methods = ROUTES.iter().filter(|route| route.path == path).map(|route| route.method.to_string());
    methods.collect::<Vec<_>>().join(", ")
}
