//! Pages with one fault each, which the check has to find.

use std::net::Ipv4Addr;

use axum::Router;
use axum::extract::RawQuery;
use axum::response::Html;
use axum::routing::get;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use tokio::net::TcpListener;

use super::job::{Job, Look, PageSpec, PageView, Part, Scheme, Site, Tokens};
use super::{assert_flawless, lines};

/// The policy of the backend's pages.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'";

const STYLE: &str = "body { background: #fff; color: #222 }
    .faint { color: #ccc } .wide { width: 400px } .over { margin-top: -1em } .down { margin-top: 800px }
    .unseen:focus { outline: none }";

/// Filters, in the markup that a GET form of the backend has.
const FILTERS: &str = "<form>\
    <label>Window <select name=window><option value=7d>7 days<option value=30d>30 days</select></label>\
    <fieldset><legend>By</legend>\
    <label><input type=radio name=by value=installations checked>Installations</label>\
    <label><input type=radio name=by value=control-planes>Control planes</label>\
    </fieldset><button>Show</button></form>";

/// Pages without a fault, then one for each fault: their names, the kinds of finding, and the markup. `gone` is served
/// nowhere.
const FAULTS: [(&str, &[&str], &str); 17] = [
    ("none", &[], ""),
    ("filters", &[], FILTERS),
    ("forgotten-filters", &["keyboard"], FILTERS),
    ("gone", &["script"], ""),
    ("contrast", &["axe"], "<p class=faint>Few can read this.</p>"),
    ("unnamed", &["axe"], "<form><input name=window></form>"),
    ("inline-style", &["blocked", "console"], "<p style='color: red'>This stays black.</p>"),
    ("script", &["blocked", "console"], "<script>alert(1)</script>"),
    ("elsewhere", &["blocked", "console", "elsewhere", "failed"], "<img src=https://example.org/pixel.png alt=Pixel>"),
    ("missing", &["console", "failed"], "<img src=/missing.png alt=Missing>"),
    ("wide", &["sideways"], "<table class=wide><tr><td>wider than a phone</table>"),
    ("overlap", &["overlap"], "<div>One line</div><div class=over>Another line</div>"),
    ("low-answer", &["first screen"], "<p class='down answer'>An answer below the window.</p>"),
    ("low-chart", &["first screen"], "<figure class=down>A chart below the window.</figure>"),
    ("unreachable", &["keyboard"], "<a href=/none tabindex=-1>By mouse only</a>"),
    ("dead-link", &["link"], "<a href=/nowhere>A page that is not there</a>"),
    ("unseen", &["keyboard"], "<a href=/none class=unseen>Unseen focus</a>"),
];

const NARROW: Look = Look { scheme: Scheme::Light, width: 320 };
const WIDE: Look = Look { scheme: Scheme::Light, width: 1280 };

/// Renders a page. It shows the filters of the query, unless it forgets them.
fn page(name: &str, fault: &str, query: &str) -> String {
    let [answer, chart] = [("answer", "<p class=answer>An answer.</p>"), ("figure", "<figure>A chart.</figure>")]
        .map(|(word, sound)| if fault.contains(word) { "" } else { sound });
    let chosen = |html: String, (pair, value, attribute): (&str, &str, &str)| {
        let is_chosen = name == "filters" && query.contains(pair);
        if is_chosen { html.replace(value, &format!("{value} {attribute}")) } else { html }
    };
    let html = format!(
        "<!doctype html><html lang=en><meta name=viewport content='width=device-width'><title>{name}</title>\
         <link rel=icon href=/icon.svg><link rel=stylesheet href=/style.css>\
         <main><h1>Heading</h1>{answer}{chart}{fault}</main>"
    );
    let filters = [("window=30d", "value=30d", "selected"), ("by=control-planes", "value=control-planes", "checked")];
    filters.into_iter().fold(html, chosen)
}

/// Serves the pages, and returns their origin.
async fn serve() -> String {
    let mut routes = Router::new()
        .route("/style.css", get(|| async { ([(CONTENT_TYPE, "text/css")], STYLE) }))
        .route("/icon.svg", get(|| async { ([(CONTENT_TYPE, "image/svg+xml")], "<svg/>") }));
    for (name, _, fault) in FAULTS.into_iter().filter(|(name, ..)| *name != "gone") {
        let answer = move |RawQuery(query): RawQuery| async move {
            ([(CONTENT_SECURITY_POLICY, POLICY)], Html(page(name, fault, &query.unwrap_or_default())))
        };
        routes = routes.route(&format!("/{name}"), get(answer));
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, routes).await });
    origin
}

/// Returns the kinds of what was found on a page, in alphabetical order.
fn kinds<'a>(views: &'a [PageView], page: &str) -> Vec<&'a str> {
    let views = views.iter().filter(|view| view.page == page);
    let mut kinds: Vec<_> = views.flat_map(|view| &view.findings).map(|finding| finding.kind.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_check_finds_each_fault_of_a_page_and_nothing_else() {
    let origin = serve().await;
    let folder = tempfile::tempdir().unwrap();
    let spec = |(name, _, _)| {
        let path = Box::leak(format!("/{name}").into_boxed_str());
        PageSpec { name, path, reader: None, first_screen: &[Part::Heading, Part::Answer, Part::Evidence] }
    };
    let job = Job {
        screenshots: folder.path().to_owned(),
        sites: vec![Site { dataset: "faulty", origin, tokens: Tokens::default(), has_data: true }],
        pages: FAULTS.map(spec).to_vec(),
        looks: vec![WIDE, NARROW],
        keyboard: true,
    };
    let views = job.run().await;
    for (page, faults, _) in FAULTS {
        assert_eq!(kinds(&views, page), faults, "{page}:\n{}", lines(&views).join("\n"));
        assert!(views.iter().any(|view| view.page == page), "{page} was not visited");
    }
}

#[test]
#[should_panic(expected = "a view was left out")]
fn a_view_that_was_not_visited_is_no_success() {
    assert_flawless(&[], 1);
}
