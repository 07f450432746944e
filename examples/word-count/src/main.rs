//! How often each word came: `cargo run -p word-count < some.txt`.
//!
//! What was counted is kept in `./data`, so a second text is added to the first.

use std::error::Error;
use std::io::read_to_string;
use std::time::Duration;

use headwater::config::Config;
use headwater::prelude::*;

/// One line after another, under the name of their text.
const LINES: &str = "lines";

struct WordCount {
    app: App,
    counts: View<String, u64>,
}

fn word_count() -> WordCount {
    let mut app = App::new("word-count");
    let words = app.stream::<String, String>(LINES).flat_map_values(|line| words_of(&line));
    let counts = app.view(words.group_by("words", |word| word.value.clone()).count(Store::named("counts")));
    WordCount { app, counts }
}

fn words_of(line: &str) -> Vec<String> {
    let words = line.split(|letter: char| !letter.is_alphanumeric());
    words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = Config::load("word-count", "Counts the words of standard input");
    let WordCount { app, counts } = word_count();
    let running = Headwater::open(&config).await?.start(app).await?;
    let mut last = None;
    for line in read_to_string(std::io::stdin())?.lines() {
        last = Some(running.publish(&LINES.into(), &"stdin".to_owned(), &line.to_owned()).await?);
    }
    let view = running.view(&counts)?;
    let view = match &last {
        Some(receipt) => view.after(receipt).within(Duration::from_secs(10)),
        None => view,
    };
    let mut token = None;
    loop {
        let page = view.scan(100, token.as_ref()).await?.value;
        for (word, count) in page.rows {
            println!("{count:>6} {word}");
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
    use headwater::core::clock::Timestamp;
    use headwater::testing::Driver;

    use super::*;

    #[test]
    fn words_are_counted_however_they_are_written() {
        let WordCount { app, counts } = word_count();
        let mut driver = Driver::new(&app);
        for line in ["All streams lead to Kafka.", "", "Hello, Kafka; hello STREAMS!"] {
            driver.pipe(LINES, "a".to_owned(), line.to_owned(), Timestamp(0));
        }
        let counted = driver.view(&counts).all();
        let expected = [("all", 1), ("hello", 2), ("kafka", 2), ("lead", 1), ("streams", 2), ("to", 1)];
        assert_eq!(counted, expected.map(|(word, count)| (word.to_owned(), count)));
    }
}
