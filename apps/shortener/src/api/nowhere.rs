//! What is answered to who follows a link that leads nowhere: a page to a browser, a problem to everything else.
//!
//! Both have the same status and say the same. The page has no script, and whatever it repeats of the request is escaped.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use headwater_http::accept::preferred;
use headwater_http::assets::SECURITY_HEADERS;
use headwater_http::problem::Problem;

use super::codes;

const HTML: &str = "text/html";
/// Who takes any JSON takes a problem; who likes both alike, as curl does, gets it.
const OFFERED: [&str; 3] = ["application/problem+json", "application/json", HTML];
/// Characters of what was asked for that the page repeats: all that a code may have.
const CODE_CHARS_MAX: usize = 64;

/// A refusal in the form that the client prefers.
pub(super) fn answer(problem: Problem, code: &str, request: &HeaderMap) -> Response {
    let page = (preferred(request, &OFFERED) == HTML).then(|| page(&problem, code));
    let mut response = problem.into_response();
    if let Some(page) = page {
        *response.body_mut() = Body::from(page);
        response.headers_mut().extend(SECURITY_HEADERS);
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    }
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

fn page(problem: &Problem, code: &str) -> String {
    const ASK: &str = "Ask whoever gave it to you for another one.";
    let (title, advice) = match problem.code() {
        code if *code == codes::NO_SUCH_LINK => {
            ("There is no such link", "Check the address, upper and lower case too.")
        }
        code if *code == codes::LINK_EXPIRED => ("This link has expired", ASK),
        code if *code == codes::LINK_EXHAUSTED => ("This link had all its visits", ASK),
        code if *code == codes::LINK_DELETED => ("This link was deleted", ASK),
        code => (code.title, problem.detail()),
    };
    let code: String = code.chars().take(CODE_CHARS_MAX).collect();
    format!(
        include_str!("nowhere.html"),
        title = escaped(title),
        code = escaped(&code),
        advice = escaped(advice)
    )
}

/// A text as HTML has it, between tags and in attributes.
fn escaped(text: &str) -> String {
    let escape = |escaped: String, character| match character {
        '&' => escaped + "&amp;",
        '<' => escaped + "&lt;",
        '>' => escaped + "&gt;",
        '"' => escaped + "&quot;",
        '\'' => escaped + "&#39;",
        other => escaped + other.encode_utf8(&mut [0; 4]),
    };
    text.chars().fold(String::new(), escape)
}

#[cfg(test)]
mod tests {
    use headwater_http::codes as common;

    use super::*;

    #[test]
    fn whatever_a_page_repeats_is_escaped_and_of_bounded_length() {
        let problem = Problem::new(&common::UNAVAILABLE, "the log & \"its\" <disk> aren't there");
        let page = page(&problem, &format!("<script>'\"&{{title}}{}", "x".repeat(100)));
        assert!(page.contains("<bdi>/&lt;script&gt;&#39;&quot;&amp;{title}xxx"), "{page}");
        assert!(
            page.contains("<p>the log &amp; &quot;its&quot; &lt;disk&gt; aren&#39;t there</p>"),
            "{page}"
        );
        assert!(!page.contains("<script") && !page.contains(&"x".repeat(64)), "{page}");
    }
}
