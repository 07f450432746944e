//! The same from the app's own command line, over an embedded log.

use std::path::Path;
use std::process::ExitCode;

use headwater::admin::Asked;
use headwater::config::{Config, LogChoice};
use tokio::runtime::Builder;

use super::*;

fn app() -> (App, View<String, u64>) {
    let mut app = App::new("bank").with(|options| options.partitions = PARTITIONS);
    let paid = app.stream::<String, u64>("paid");
    let total = app.view(paid.group_by_key().count(Store::named("total")));
    (app, total)
}

/// Runs one command of the app's program.
fn run(data: &Path, words: &[&str]) -> ExitCode {
    let data = data.to_str().unwrap();
    let words = ["bank", "--data", data, "--log", "embedded"].into_iter().chain(words.iter().copied());
    let matches = Asked::command().name("bank").try_get_matches_from(words).unwrap();
    let none = std::iter::empty::<(String, String)>();
    match Asked::from_matches(&matches, none, |_| Err(std::io::ErrorKind::NotFound.into())).unwrap() {
        Asked::Admin(admin) => admin.run(&app().0),
        Asked::Serve(_) => panic!("it is a command"),
    }
}

#[test]
fn a_fold_goes_on_as_the_command_line_decided() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { log: LogChoice::Embedded, data: dir.path().to_owned(), ..Config::default() };
    let serve = |records: &'static [(&str, &str)], expected: Option<u64>| {
        Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
            let headwater = Headwater::open(&config).await.unwrap();
            let (app, total) = app();
            let running = headwater.start(app).await.unwrap();
            let paid: Topic<String, String> =
                Topic::with("paid", headwater::core::codec::Text, headwater::core::codec::Text);
            for (key, value) in records {
                running.publish(&paid, &(*key).to_owned(), &(*value).to_owned()).await.unwrap();
            }
            match expected {
                None => drop(until("it stops", async || running.stopped_folds().pop()).await),
                Some(count) => {
                    running.ready(WITHIN).await.unwrap();
                    let told = running.view(&total).unwrap().get(&"a".to_owned()).await.unwrap();
                    assert_eq!(told.value, Some(count));
                }
            }
            assert!(running.stop(WITHIN).await);
        });
    };
    serve(&[("a", "1"), ("a", "poison"), ("a", "3"), ("a", "worse")], None);
    let (first, second) =
        (format!("total/paid-{}@1", partition("a")), format!("total/paid-{}@3", partition("a")));
    let good = [
        vec!["folds", "show", &first],
        vec!["folds", "skip", &first, "--by", "alice", "--note", "a test"],
        vec!["folds", "replace", &second, "--value", "4", "--json"],
        vec!["folds", "show", &first, "--json"],
        vec!["decisions", "list"],
    ];
    for words in good {
        assert_eq!(run(dir.path(), &words), ExitCode::SUCCESS, "{words:?}");
    }
    let unknown = format!("total/paid-{}@9", partition("a"));
    assert_eq!(run(dir.path(), &["folds", "skip", &unknown]), ExitCode::FAILURE);
    serve(&[], Some(3));
}
