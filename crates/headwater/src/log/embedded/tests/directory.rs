//! Whose a directory is, and who holds it.

use std::fs;

use super::super::error::{OpenError, OpenErrorKind};
use super::*;

fn refused(dir: &Path) -> OpenError {
    EmbeddedLog::open(dir, options()).err().expect("the directory is refused")
}

/// Every file of a directory with its contents.
fn contents(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| (file.clone(), fs::read(&file).unwrap_or_default())).collect()
}

#[test]
fn a_directory_is_made_where_there_is_none() {
    let parent = tempfile::tempdir().unwrap();
    drop(open(&parent.path().join("a/b")));
    assert!(parent.path().join("a/b/log/data.mdb").exists());
}

#[test]
fn a_second_opening_names_the_process_that_holds_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let error = refused(dir.path());
    assert_eq!(error.kind(), OpenErrorKind::Locked);
    let (pid, path) = (std::process::id().to_string(), dir.path().display().to_string());
    let text = error.to_string();
    assert!(text.contains(&pid) && text.contains(&path) && text.contains("stop it"), "{text}");
    drop(log);
    drop(open(dir.path()));
}

#[test]
fn another_programs_directory_is_refused_and_left_as_it_is() {
    for (name, text) in [("notes.txt", "mine"), ("format", "PNG"), ("format", "headwater"), ("data.mdb", "")]
    {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(name), text).unwrap();
        let before = contents(dir.path());
        let error = refused(dir.path());
        assert_eq!(error.kind(), OpenErrorKind::Foreign, "{name} {text}: {error}");
        assert!(error.to_string().contains("no data directory of Headwater"), "{error}");
        assert_eq!(contents(dir.path()), before);
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    assert_eq!(refused(file.path()).kind(), OpenErrorKind::Foreign);
}

#[test]
fn a_newer_format_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    fs::write(dir.path().join("format"), "headwater 2\n").unwrap();
    let before = contents(dir.path());
    let error = refused(dir.path());
    assert_eq!(error.kind(), OpenErrorKind::Newer);
    assert!(error.to_string().contains("format 2") && error.to_string().contains("newer program"), "{error}");
    assert_eq!(contents(dir.path()), before);
}

/// Root may write whatever the permissions say, but not to an immutable directory, nor to a system's own.
#[test]
fn a_directory_that_cannot_be_written_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let permit = |mode| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
    permit(0o555);
    let is_root = fs::write(dir.path().join("probe"), "").is_ok();
    let error = if is_root { refused(Path::new("/proc/sys/headwater")) } else { refused(dir.path()) };
    permit(0o755);
    let kinds = [OpenErrorKind::ReadOnly, OpenErrorKind::Unavailable];
    assert!(kinds.contains(&error.kind()), "{error}");
    let read_only = std::io::Error::from(std::io::ErrorKind::ReadOnlyFilesystem);
    assert_eq!(OpenErrorKind::of_io(&read_only), OpenErrorKind::ReadOnly);
}

#[test]
fn a_log_whose_making_was_cut_short_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("lock"), "1\n").unwrap();
    fs::write(dir.path().join("format.new"), "head").unwrap();
    drop(open(dir.path()));
    fs::rename(dir.path().join("log"), dir.path().join("log.new")).unwrap();
    drop(open(dir.path()));
    assert!(!dir.path().join("log.new").exists());
}

#[tokio::test]
async fn an_open_log_has_no_clean_mark_and_a_closed_one_has() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("clean");
    let log = open(dir.path());
    assert!(!mark.exists());
    log.close();
    assert!(mark.exists());
    drop(log);
    drop(open(dir.path()));
    assert!(mark.exists());
}
