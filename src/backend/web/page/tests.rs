//! Tests of the frame, with readers of both roles.

use crate::backend::insights::parameters::QuestionName;
use maud::html;

use super::*;
use crate::backend::store::{Role, Token};

fn page(place: Place, role: Role) -> String {
    let (created, expires) = (Timestamp::UNIX_EPOCH, Timestamp::MAX);
    let (prefix, name) = ("ktt_01234567".to_owned(), "alice <x>".to_owned());
    let principal = Principal::from(Token { prefix, name, role, created, expires, revoked: None });
    let frame = Frame {
        place,
        principal: &principal,
        as_of: Timestamp::UNIX_EPOCH,
        address: "/insights/health?window=7d&by=x",
    };
    frame.render(&html! { p { "content" } }).into_string()
}

#[test]
fn a_page_asks_one_question_and_is_marked_in_the_navigation() {
    for place in Place::all() {
        let page = page(place, Role::Admin);
        assert_eq!(page.matches("<h1>").count(), 1, "{place:?}");
        assert!(page.contains(place.question()), "{place:?}");
        assert_eq!(page.matches("aria-current=\"page\"").count(), 1, "{place:?}");
        assert!(page.contains(&format!("href=\"{}\" aria-current=\"page\"", place.path())), "{page}");
    }
}

#[test]
fn a_viewer_sees_no_link_to_pages_of_admins() {
    let (admin, viewer) = (
        page(Place::Question(QuestionName::Overview), Role::Admin),
        page(Place::Question(QuestionName::Overview), Role::Viewer),
    );
    for path in ["/installations", "/audit-log"] {
        assert!(admin.contains(&format!("href=\"{path}\"")) && !viewer.contains(path), "{path}");
    }
}

#[test]
fn the_first_link_skips_to_the_content_and_reload_keeps_the_view() {
    let page = page(Place::Question(QuestionName::Health), Role::Viewer);
    let body = page.split("<body>").nth(1).unwrap();
    assert!(body.starts_with("<a class=\"skip\" href=\"#main\">") && body.contains("<main id=\"main\""), "{body}");
    assert!(body.contains("href=\"/insights/health?window=7d&amp;by=x\""), "{body}");
    assert!(body.contains("alice &lt;x&gt; (viewer)"), "{body}");
}
