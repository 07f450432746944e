//! The program as an operator runs it: what visitors were answered is counted apart, and links outlive a kill.

use app_testing::connection::Connection;
use app_testing::patience::within_patience;
use app_testing::server::Program;
use headwater::core::clock::{Clock, SystemClock};

fn status(connection: &mut Connection, method: &str, path: &str) -> u16 {
    let request = format!("{method} {path} HTTP/1.1\r\nhost: test\r\n\r\n");
    connection.ask(&request).expect("it answers").0
}

fn text(connection: &mut Connection, path: &str) -> String {
    let (status, body) = connection.get(path).expect("it answers");
    assert_eq!(status, 200, "{path}");
    String::from_utf8(body).expect("text")
}

#[test]
fn what_visitors_are_answered_is_counted_apart_and_links_outlive_a_kill() {
    let data = tempfile::tempdir().expect("a directory");
    let program = Program::embedded("shortener", env!("CARGO_BIN_EXE_shortener"));
    let mut server = program.start(data.path());
    let mut connection = server.connect();
    let make = |connection: &mut Connection, alias: &str, terms: &str| {
        let link = format!(r#"{{"url":"https://example.com/","alias":"{alias}"{terms}}}"#);
        connection.post("/links", &link).expect("it answers").0
    };
    for (alias, terms) in [("here", ""), ("gone", ""), ("once", r#","maxVisits":1"#)] {
        assert_eq!(make(&mut connection, alias, terms), 201, "{alias}");
    }
    within_patience("a link is made before its time is over", || {
        let soon = jiff::Timestamp::from_millisecond(SystemClock.now().0 + 500).expect("a time");
        let made = make(&mut connection, "soon", &format!(r#","validUntil":"{soon}""#));
        (made == 201).then_some(())
    });
    assert_eq!(status(&mut connection, "DELETE", "/links/gone"), 204);
    within_patience("a link expires", || {
        text(&mut connection, "/links/soon").contains(r#""state":"expired""#).then_some(())
    });
    let asked = [
        ("GET", "/here", 302),
        ("HEAD", "/here", 302),
        ("GET", "/once", 302),
        ("GET", "/once", 410),
        ("GET", "/soon", 410),
        ("GET", "/gone", 410),
        ("GET", "/nothing", 404),
        ("GET", "/no.code", 404),
        ("HEAD", "/nothing", 404),
    ];
    for (method, path, wanted) in asked {
        assert_eq!(status(&mut connection, method, path), wanted, "{method} {path}");
    }
    let page = "GET /nothing HTTP/1.1\r\nhost: test\r\naccept: text/html\r\n\r\n";
    assert_eq!(connection.ask(page).expect("it answers").0, 404);
    let metrics = text(&mut connection, "/metrics");
    for (outcome, count) in
        [("redirected", 2), ("exhausted", 1), ("expired", 1), ("deleted", 1), ("unknown", 3)]
    {
        let line = format!("shortener_redirects_total{{outcome=\"{outcome}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line} is not among\n{metrics}");
    }

    server.kill();
    let server = program.start(data.path());
    let mut connection = server.connect();
    for (path, wanted) in [("/here", 302), ("/once", 410), ("/soon", 410), ("/gone", 410), ("/nothing", 404)]
    {
        assert_eq!(status(&mut connection, "GET", path), wanted, "{path} after a kill");
    }
}
