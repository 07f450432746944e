//! `docs/guarantees.md`: each promise stands beside the tests that would fail without it, and those tests exist.
//!
//! A promise is a row `| number | promise | tests |`. A test is named by its function in backticks, or by its suite as
//! `` `cargo xtask test --only NAME` ``; a row without any says "not yet kept" and nothing else.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use crate::source;
use crate::suites::SUITES;
use crate::tools::Tools;

const PAGE: &str = "docs/guarantees.md";
const PROMISES: usize = 10;
const NOT_YET: &str = "not yet kept";
const SUITE: &str = "cargo xtask test --only ";

/// Where tests are looked for.
const PLACES: [&str; 6] = ["crates", "apps", "bench", "sim", "streams-oracle", "xtask"];

/// Checks the page against the tree.
///
/// # Errors
/// Lists the rows that name no test, or one that does not exist, a line each.
pub(crate) fn check(tools: &Tools) -> Result<(), String> {
    let page = fs::read_to_string(tools.root.join(PAGE))
        .map_err(|error| format!("{PAGE} cannot be read: {error}"))?;
    let findings = findings(&page, &tests(&tools.root)?);
    if findings.is_empty() { Ok(()) } else { Err(findings.join("\n")) }
}

fn findings(page: &str, tests: &HashSet<String>) -> Vec<String> {
    let rows: Vec<(usize, &str)> = page.lines().filter_map(row).collect();
    let numbers: Vec<usize> = rows.iter().map(|(number, _)| *number).collect();
    if numbers != (1..=PROMISES).collect::<Vec<_>>() {
        return vec![format!("{PAGE} has the promises {numbers:?}, not 1 to {PROMISES}")];
    }
    rows.iter()
        .flat_map(|(number, cell)| missing(cell, tests).into_iter().map(move |what| (number, what)))
        .map(|(number, what)| format!("{PAGE}: promise {number} {what}"))
        .collect()
}

/// The number and the last cell of a promise's row.
fn row(line: &str) -> Option<(usize, &str)> {
    let cells: Vec<&str> =
        line.trim().strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
    let [number, _, tests] = cells[..] else { return None };
    Some((number.parse().ok()?, tests))
}

fn missing(cell: &str, tests: &HashSet<String>) -> Vec<String> {
    if cell == NOT_YET {
        return vec![];
    }
    let names: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
    if names.is_empty() {
        return vec![format!("names no test in backticks, nor says \"{NOT_YET}\"")];
    }
    names
        .iter()
        .filter(|name| !exists(name, tests))
        .map(|name| format!("names {name}, which does not exist"))
        .collect()
}

fn exists(name: &str, tests: &HashSet<String>) -> bool {
    match name.strip_prefix(SUITE) {
        Some(suite) => SUITES.iter().any(|known| known.name == suite),
        None => tests.contains(name.rsplit("::").next().unwrap_or(name)),
    }
}

/// The names of all test functions of the tree.
fn tests(root: &Path) -> Result<HashSet<String>, String> {
    let mut tests = HashSet::new();
    for place in PLACES {
        for file in source::files(&root.join(place), "rs")? {
            let code = fs::read_to_string(&file)
                .map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
            tests.extend(test_functions(&code).map(String::from));
        }
    }
    Ok(tests)
}

/// A test function follows its `#[test]` or `#[tokio::test(..)]`, with other attributes between at most.
fn test_functions(code: &str) -> impl Iterator<Item = &str> {
    let mut marked = false;
    code.lines().map(str::trim_start).filter_map(move |line| {
        if line.starts_with("#[") {
            marked |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            marked &= !line.starts_with("#[ignore");
            return None;
        }
        let name = function_name(line).filter(|_| marked);
        marked &= line.starts_with("//");
        name
    })
}

fn function_name(line: &str) -> Option<&str> {
    let (before, rest) = line.split_once("fn ")?;
    let is_signature = before.split_whitespace().all(|word| matches!(word, "pub" | "async"));
    rest.split(['(', '<']).next().filter(|_| is_signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(last_cell: &str) -> String {
        let rows = (1..=PROMISES).map(|number| {
            format!("| {number} | it holds | {} |\n", if number == PROMISES { last_cell } else { NOT_YET })
        });
        format!("# Guarantees\n\n| | promise | test |\n|---|---|---|\n{}", rows.collect::<String>())
    }

    fn check(last_cell: &str) -> Vec<String> {
        findings(&page(last_cell), &HashSet::from(["it_holds".into(), "it_lasts".into()]))
    }

    #[test]
    fn a_promise_names_a_test_that_exists_or_says_that_it_is_not_kept() {
        for cell in
            [NOT_YET, "`it_holds`", "`it_holds`, `log::tests::it_lasts`", "`cargo xtask test --only fmt`"]
        {
            assert_eq!(check(cell), [""; 0], "{cell}");
        }
        for (cell, finding) in [
            ("`gone`", "promise 10 names gone, which does not exist"),
            ("`it_holds`, `gone`", "promise 10 names gone, which does not exist"),
            (
                "`cargo xtask test --only gone`",
                "promise 10 names cargo xtask test --only gone, which does not exist",
            ),
            ("it_holds", "promise 10 names no test in backticks, nor says \"not yet kept\""),
            ("", "promise 10 names no test in backticks, nor says \"not yet kept\""),
        ] {
            assert_eq!(check(cell), [format!("{PAGE}: {finding}")], "{cell}");
        }
    }

    #[test]
    fn no_promise_is_left_out() {
        let page = page(NOT_YET).replace("| 4 | it holds | not yet kept |\n", "");
        assert_eq!(
            findings(&page, &HashSet::new()),
            [format!("{PAGE} has the promises [1, 2, 3, 5, 6, 7, 8, 9, 10], not 1 to 10")]
        );
    }

    #[test]
    fn a_test_is_a_function_that_the_runner_runs() {
        let code = "
            #[test]
            fn plain() {}
            #[tokio::test(flavor = \"multi_thread\")]
            #[should_panic]
            // why
            async fn on_a_runtime() {}
            fn helper() {}
            #[test]
            #[ignore = \"slow\"]
            fn ignored() {}
            #[cfg(test)]
            fn not_a_test() {}
        ";
        assert_eq!(test_functions(code).collect::<Vec<_>>(), ["plain", "on_a_runtime"]);
    }
}
