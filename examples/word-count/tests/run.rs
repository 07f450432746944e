//! The program, as a user runs it.
#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// What the program prints for a text, over a data directory.
fn counted(data: &Path, text: &str) -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_word-count"))
        .arg("--data")
        .arg(data)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    program.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = program.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_second_text_is_added_to_the_first() {
    let data = tempfile::tempdir().unwrap();
    assert_eq!(counted(data.path(), "to be or\nnot to be"), "     2 be\n     1 not\n     1 or\n     2 to\n");
    assert_eq!(counted(data.path(), "be"), "     3 be\n     1 not\n     1 or\n     2 to\n");
}
