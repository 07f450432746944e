//! The same from the app's own command line, over an embedded log.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use headwater::OnFailure;
use headwater::admin::Asked;
use headwater::config::{Config, LogChoice};
use headwater::letters::{DeadLetter, LetterReason};
use headwater::log::embedded::{EmbeddedLog, Options};
use tokio::runtime::Builder;

use super::emitters::{counts, told};
use super::*;

fn app() -> (App, View<String, u64>) {
    let mut app = App::new("bank").with(|options| options.partitions = PARTITIONS);
    let paid = app.stream::<String, u64>("paid");
    let total = app.view(paid.group_by_key().count(Store::named("total")));
    (app, total)
}

/// Runs one command of the app's program.
fn run(app: &App, data: &Path, words: &[&str]) -> ExitCode {
    let data = data.to_str().unwrap();
    let words = ["app", "--data", data, "--log", "embedded"].into_iter().chain(words.iter().copied());
    let matches = Asked::command().name("app").try_get_matches_from(words).unwrap();
    let none = std::iter::empty::<(String, String)>();
    match Asked::from_matches(&matches, none, |_| Err(std::io::ErrorKind::NotFound.into())).unwrap() {
        Asked::Admin(admin) => admin.run(app),
        Asked::Serve(_) => panic!("it is a command"),
    }
}

#[test]
fn a_fold_goes_on_as_the_command_line_decided() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { log: LogChoice::Embedded, data: dir.path().to_owned(), ..Config::default() };
    // As another program appends: the app's own `publish` would refuse what it cannot read.
    Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
        let log = EmbeddedLog::open(dir.path(), Options::default()).unwrap();
        make(&*log, "paid").await;
        produce(&*log, "paid", &[("a", "1"), ("a", "poison"), ("a", "3"), ("a", "worse")]).await;
        log.close();
    });
    let serve = |expected: Option<u64>| {
        Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
            let headwater = Headwater::open(&config).await.unwrap();
            let (app, total) = app();
            let running = headwater.start(app).await.unwrap();
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
    serve(None);
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
        assert_eq!(run(&app().0, dir.path(), &words), ExitCode::SUCCESS, "{words:?}");
    }
    let unknown = format!("total/paid-{}@9", partition("a"));
    assert_eq!(run(&app().0, dir.path(), &["folds", "skip", &unknown]), ExitCode::FAILURE);
    serve(Some(3));
}

/// Serves the app that parks, until what it has set aside is as expected; answers that, and what was told.
fn serve_counts(
    data: &Path,
    visits: &[(&str, &str)],
    is_settled: impl Fn(&[DeadLetter]) -> bool,
) -> (Vec<DeadLetter>, BTreeMap<String, Vec<String>>) {
    Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
        let log: SharedLog = EmbeddedLog::open(data, Options::default()).unwrap();
        let running = start(&log, &MemoryStores::new(), counts(OnFailure::park())).await;
        produce(&*log, "visits", visits).await;
        let letters = until("letters are as expected", async || {
            let page = running.dead_letters().list(None, 10, None).await.unwrap();
            is_settled(&page.letters).then_some(page.letters)
        })
        .await;
        let told = told(&*log, "seen").await;
        assert!(running.stop(WITHIN).await);
        (letters, told)
    })
}

#[test]
fn letters_are_listed_shown_and_decided_about_from_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let visits = [("a", "1"), ("a", "x"), ("a", "3"), ("a", "13"), ("b", "y"), ("c", "z")];
    let (letters, _) = serve_counts(&data, &visits, |letters| letters.len() == 5);
    let of = |value: &str| {
        let letter = letters.iter().find(|letter| letter.record.value.as_deref() == Some(value.as_bytes()));
        letter.unwrap().record.id.to_string()
    };
    let [x, three, thirteen, y, z] = ["x", "3", "13", "y", "z"].map(of);
    let seven = dir.path().join("seven");
    std::fs::write(&seven, "7").unwrap();
    let seven = seven.to_str().unwrap();
    let succeed = |words: &[&str]| {
        assert_eq!(run(&counts(OnFailure::park()), &data, words), ExitCode::SUCCESS, "{words:?}");
    };
    let fail = |words: &[&str]| {
        assert_eq!(run(&counts(OnFailure::park()), &data, words), ExitCode::FAILURE, "{words:?}");
    };

    succeed(&["letters", "list"]);
    succeed(&["letters", "list", "--topology", "seen", "--limit", "1", "--after", &x, "--json"]);
    fail(&["letters", "list", "--topology", "nobody"]);
    succeed(&["letters", "show", &x]);
    succeed(&["letters", "show", &three, "--json"]);
    fail(&["letters", "show", "seen/visits-0@99"]);
    fail(&["letters", "retry", &three]);
    fail(&["folds", "skip", &x]);
    succeed(&["letters", "edit", &x, "--value", "2", "--by", "alice", "--note", "a test"]);
    succeed(&["letters", "retry", &three, "--all"]);
    succeed(&["letters", "retry", &y, "--json"]);
    succeed(&["letters", "discard", &z]);
    let expected = [(&thirteen, LetterReason::Panicked, 1), (&y, LetterReason::Undecodable, 2)];
    let (_, seen) = serve_counts(&data, &[], |letters| {
        let left: Vec<_> =
            letters.iter().map(|it| (it.record.id.to_string(), it.reason, it.attempts)).collect();
        left.len() == 2 && expected.iter().all(|(id, reason, n)| left.contains(&((*id).clone(), *reason, *n)))
    });
    assert_eq!(seen, [("a".to_owned(), ["[1]", "[1,2]", "[1,2,3]"].map(str::to_owned).into())].into());

    fail(&["letters", "discard", &z]);
    succeed(&["letters", "discard", &thirteen, "--all"]);
    succeed(&["letters", "edit", &y, "--value-file", seven]);
    succeed(&["decisions", "list"]);
    let (_, seen) = serve_counts(&data, &[], <[_]>::is_empty);
    assert_eq!(seen["a"].last().unwrap(), "[1,2,3]");
    assert_eq!(seen["b"], ["[7]"]);
}
