//! What each user did in one sitting: clicks at most half an hour apart are of one session.
//!
//! `printf 'ann 2026-03-01T10:00:00Z /\nann 2026-03-01T10:20:00Z /shoes\n' | cargo run -p sessions`

use std::error::Error;
use std::io::read_to_string;
use std::time::Duration;

use headwater::Windowed;
use headwater::config::Config;
use headwater::core::clock::Timestamp;
use headwater::prelude::*;

const CLICKS: &str = "clicks";

struct Sessions {
    app: App,
    sessions: View<Windowed<String>, Pages>,
}

/// The pages of a session with the times at which they were clicked, the earliest first: clicks may come late.
type Pages = Vec<(Timestamp, String)>;

fn sessions() -> Sessions {
    let mut app = App::new("sessions");
    let clicks = app.stream::<String, String>(CLICKS).group_by_key();
    let sessions = clicks.window(Session::gap(minutes(30)).grace(hours(24)));
    let pages = sessions.fold(
        Store::named("sessions"),
        |pages: &mut Pages, click| {
            pages.push((click.meta.timestamp, click.value.clone()));
            pages.sort();
        },
        |_, mut earlier: Pages, later: Pages| {
            earlier.extend(later);
            earlier
        },
    );
    let sessions = app.view(pages);
    Sessions { app, sessions }
}

fn in_words(pages: &Pages) -> String {
    let pages: Vec<_> = pages.iter().map(|(_, page)| page.as_str()).collect();
    pages.join(" ")
}

/// A line of the input: who, when, what.
fn click(line: &str) -> Option<(String, Timestamp, String)> {
    let mut words = line.split_whitespace();
    let (user, time, page) = (words.next()?, words.next()?, words.next()?);
    let time: jiff::Timestamp = time.parse().ok()?;
    Some((user.to_owned(), Timestamp(time.as_millisecond()), page.to_owned()))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = Config::load("sessions", "Tells the sessions of clicks on standard input: USER TIME PAGE");
    let Sessions { app, sessions } = sessions();
    let running = Headwater::open(&config).await?.start(app).await?;
    for line in read_to_string(std::io::stdin())?.lines() {
        let Some((user, time, page)) = click(line) else {
            eprintln!("not \"USER TIME PAGE\": {line}");
            continue;
        };
        let receipt = running.publish(&CLICKS.into(), &user, &page).at(time).await?;
        let _ = running.view(&sessions)?.after(&receipt).count().await?;
    }
    let mut token = None;
    loop {
        let page = running.view(&sessions)?.scan(100, token.as_ref()).await?.value;
        for (session, pages) in page.rows {
            let start = jiff::Timestamp::from_millisecond(session.start.0)?;
            println!("{} {start} {}", session.key, in_words(&pages));
        }
        token = page.next;
        if token.is_none() {
            break;
        }
    }
    running.stop(Duration::from_secs(10)).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use headwater::testing::{Driver, at};

    use super::*;

    #[test]
    fn a_click_that_comes_late_joins_two_sessions() {
        let Sessions { app, sessions } = sessions();
        let mut driver = Driver::new(&app);
        let mut click = |time: &str, page: &str| {
            driver.pipe(CLICKS, "ann".to_owned(), page.to_owned(), at(time));
            let spans = driver.view(&sessions).spans(&"ann".to_owned());
            spans.into_iter().map(|(_, pages)| in_words(&pages)).collect::<Vec<_>>()
        };
        assert_eq!(click("2026-03-01T10:00:00Z", "/"), ["/"]);
        assert_eq!(click("2026-03-01T10:50:00Z", "/pay"), ["/", "/pay"]);
        assert_eq!(click("2026-03-01T10:25:00Z", "/shoes"), ["/ /shoes /pay"]);
        assert_eq!(click("2026-03-01T12:00:00Z", "/"), ["/ /shoes /pay", "/"]);
    }
}
