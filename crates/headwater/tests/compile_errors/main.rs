//! What does not compile, and what the compiler says to do instead.
//!
//! Each file of `cases` is a program by itself. A line `//~ advice` in it is wanted, word for word, in what the compiler
//! says; without any, the program must compile, which shows that the others fail for no other reason. The compiler is asked
//! directly, with this test's own dependencies: nothing is built a second time, and how it draws its errors does not matter.
#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// The folder of this test's dependencies, and the library that it was built with last.
fn built() -> (PathBuf, PathBuf) {
    let deps = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let is_library = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("libheadwater-") && name.ends_with(".rlib")
    };
    let age = |path: &PathBuf| {
        fs::metadata(path).and_then(|file| file.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
    };
    let libraries = fs::read_dir(&deps).unwrap().map(|entry| entry.unwrap().path()).filter(is_library);
    let library = libraries.max_by_key(age).expect("a test of the library is built with it");
    (deps, library)
}

/// What the compiler says of a program; `None` if it compiles.
fn complaint(program: &Path) -> Option<String> {
    let ((deps, library), out) = (built(), tempfile::tempdir().unwrap());
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let compiled = Command::new(rustc)
        .args(["--edition", "2024", "--crate-type", "lib", "--emit", "metadata", "--out-dir"])
        .arg(out.path())
        .arg("-L")
        .arg(format!("dependency={}", deps.display()))
        .arg("--extern")
        .arg(format!("headwater={}", library.display()))
        .arg(program)
        .output()
        .unwrap();
    (!compiled.status.success()).then(|| String::from_utf8(compiled.stderr).unwrap())
}

#[test]
fn what_does_not_compile_says_what_to_do() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile_errors/cases");
    let mut cases: Vec<_> = fs::read_dir(cases).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    let mut refused = 0;
    for case in &cases {
        let source = fs::read_to_string(case).unwrap();
        let advice: Vec<_> = source.lines().filter_map(|line| line.strip_prefix("//~ ")).collect();
        let said = complaint(case);
        let name = case.file_stem().unwrap().display();
        assert_eq!(said.is_some(), !advice.is_empty(), "{name}: {}", said.unwrap_or_default());
        let Some(said) = said else { continue };
        refused += 1;
        for line in advice {
            assert!(said.contains(line), "{name}: wanted is\n{line}\nin\n{said}");
        }
    }
    assert!(refused > 0 && refused < cases.len(), "{refused} of {} programs are refused", cases.len());
}
