//! The pages that are visited most: `printf 'a\nb\na\n' | cargo run -p top-pages`.
//!
//! Counts are a table; grouped under one key, its updates take back what they said before and say it anew, so the list
//! is right after every visit.

use std::error::Error;
use std::io::read_to_string;
use std::time::Duration;

use headwater::config::Config;
use headwater::prelude::*;

const VISITS: &str = "page-visits";
/// How many pages the list has.
const TOP: usize = 3;

/// Pages with their counts, the most visited first.
type Top = Vec<(u64, String)>;

struct TopPages {
    app: App,
    top: View<String, Top>,
}

fn top_pages() -> TopPages {
    let mut app = App::new("top-pages");
    let counts = app.stream::<String, ()>(VISITS).group_by_key().count(Store::named("counts"));
    let all = counts.group_by("all-counts", |page, count| ("all".to_owned(), (*count, page.clone())));
    let top = app.view(all.aggregate(
        Store::named("top"),
        |top: Option<Top>, counted| Some(with(top.unwrap_or_default(), counted.value)),
        |top, counted| Some(without(top, counted.value)),
    ));
    TopPages { app, top }
}

/// Counts only grow, so a page that has left the list comes back by a visit of its own.
fn with(mut top: Top, counted: &(u64, String)) -> Top {
    top.push(counted.clone());
    top.sort_by(|(a, page_a), (b, page_b)| b.cmp(a).then(page_a.cmp(page_b)));
    top.truncate(TOP);
    top
}

fn without(mut top: Top, counted: &(u64, String)) -> Top {
    top.retain(|listed| listed != counted);
    top
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = Config::load("top-pages", "Lists the most visited pages of those named on standard input");
    let TopPages { app, top } = top_pages();
    let running = Headwater::open(&config).await?.start(app).await?;
    let view = running.view(&top)?.within(Duration::from_secs(10));
    let mut list = view.get(&"all".to_owned()).await?;
    for page in read_to_string(std::io::stdin())?.lines() {
        let receipt = running.publish(&VISITS.into(), &page.to_owned(), &()).await?;
        let view = running.view(&top)?.after(&receipt).within(Duration::from_secs(10));
        list = view.get(&"all".to_owned()).await?;
    }
    for (count, page) in list.value.unwrap_or_default() {
        println!("{count:>6} {page}");
    }
    running.stop(Duration::from_secs(10)).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use headwater::core::clock::Timestamp;
    use headwater::testing::Driver;

    use super::*;

    #[test]
    fn the_list_follows_every_visit() {
        let TopPages { app, top } = top_pages();
        let mut driver = Driver::new(&app);
        let mut counts = std::collections::BTreeMap::<&str, u64>::new();
        for page in "a b c d b c d c d d e e e e e a a a a a a".split(' ') {
            driver.pipe(VISITS, page.to_owned(), (), Timestamp(0));
            *counts.entry(page).or_default() += 1;
            let mut expected: Vec<_> =
                counts.iter().map(|(page, count)| (*count, (*page).to_owned())).collect();
            expected.sort_by(|(a, page_a), (b, page_b)| b.cmp(a).then(page_a.cmp(page_b)));
            let listed = driver.view(&top).get(&"all".to_owned()).unwrap();
            let shown: Vec<u64> = listed.iter().map(|(count, _)| *count).collect();
            let best: Vec<u64> = expected.iter().take(TOP).map(|(count, _)| *count).collect();
            assert_eq!(shown, best, "after a visit of {page}");
        }
    }
}
