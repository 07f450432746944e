//! What keeps the program from starting is told in one line, with the place and what to do, and leaves no trace.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::service::{Service, order, output_of, program};

/// A user who owns nothing.
const NOBODY: u32 = 65_534;

/// Runs a program that is not to start, and demands one line with these parts.
#[track_caller]
fn assert_refused(command: &mut Command, parts: &[&str]) {
    let output = output_of(command);
    let told = String::from_utf8(output.stderr).expect("text");
    assert_eq!((output.status.code(), told.lines().count()), (Some(1), 1), "{told}");
    assert!(output.stdout.is_empty(), "it says that it listens");
    assert!(told.starts_with("ordering: "), "{told}");
    assert_words(&told, parts);
}

/// Demands words for a person, with these parts.
#[track_caller]
fn assert_words(told: &str, parts: &[&str]) {
    for debug in ["panicked", "RUST_BACKTRACE", "Error {", "Some(", "kind:"] {
        assert!(!told.contains(debug), "\"{debug}\" is not for people: {told}");
    }
    for part in parts {
        assert!(told.contains(part), "no \"{part}\" in: {told}");
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// The program as a user who may not write what others own.
fn program_without_rights(data: &Path) -> Command {
    let mut command = program(data);
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY).current_dir("/");
    }
    command
}

/// Sets who may do what with a directory, and with the files in it.
fn set_modes(path: &Path, directories: u32, files: u32) {
    set_mode(path, 0o755);
    for entry in fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry").path()) {
        match entry.is_dir() {
            true => set_modes(&entry, directories, files),
            false => set_mode(&entry, files),
        }
    }
    set_mode(path, directories);
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("one may change one's own");
}

#[test]
fn a_data_directory_that_cannot_be_written_is_named() {
    let place = TempDir::new().expect("a directory");
    set_mode(place.path(), 0o755);
    let (empty, used, absent) =
        (place.path().join("empty"), place.path().join("used"), place.path().join("absent"));
    fs::create_dir(&empty).expect("a directory");
    let service = Service::on(&used);
    assert_eq!(service.place(&order("o", "c", "x")).status, 202);
    service.kill();
    set_modes(place.path(), 0o555, 0o444);
    for data in [&empty, &used, &absent] {
        assert_refused(&mut program_without_rights(data), &[&text(data), "denied", "may write"]);
    }
    set_modes(place.path(), 0o755, 0o644);
    assert!(!absent.exists());
    assert_eq!(Service::on(&used).get("/orders/o").status, 200, "what is there is untouched");
}

#[test]
fn a_directory_of_something_else_is_named_and_left_alone() {
    let place = TempDir::new().expect("a directory");
    let photos = place.path().join("photos");
    fs::create_dir(&photos).expect("a directory");
    fs::write(photos.join("cat.jpg"), "a cat").expect("it can be written");
    assert_refused(&mut program(&photos), &[&text(&photos), "other files", "empty or a new directory"]);
    let names: Vec<_> = fs::read_dir(&photos).expect("a directory").collect();
    assert_eq!(names.len(), 1, "{names:?}");
    let file = photos.join("cat.jpg");
    assert_refused(&mut program(&file), &[&text(&file)]);
    assert_eq!(fs::read_to_string(&file).expect("it is there"), "a cat");
}

#[test]
fn a_directory_in_use_names_the_process() {
    let data = TempDir::new().expect("a directory");
    let first = Service::on(data.path());
    let holder = format!("process {}", first.pid());
    assert_refused(&mut program(data.path()), &[&text(data.path()), &holder, "stop it, or give another"]);
    assert_eq!(first.place(&order("o", "c", "x")).status, 202, "the first goes on");
}

#[test]
fn a_newer_format_is_named_and_left_alone() {
    let data = TempDir::new().expect("a directory");
    let service = Service::on(data.path());
    assert_eq!(service.place(&order("o", "c", "x")).status, 202);
    service.kill();
    let format = data.path().join("format");
    let ours = fs::read_to_string(&format).expect("a data directory tells its format");
    fs::write(&format, "headwater 2\n").expect("it can be written");
    assert_refused(&mut program(data.path()), &[&text(data.path()), "format 2", "newer program"]);
    fs::write(&format, ours).expect("it can be written");
    assert_eq!(Service::on(data.path()).get("/orders/o").status, 200);
}

#[test]
fn an_address_in_use_is_named_before_any_data_is_touched() {
    let place = TempDir::new().expect("a directory");
    let data = place.path().join("data");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ordering"));
    command.args(["--listen", &address, "--data"]).arg(&data);
    assert_refused(&mut command, &[&address, "in use", "--listen"]);
    assert!(!data.exists());
}

#[test]
fn a_log_that_cannot_be_reached_is_named() {
    let data = TempDir::new().expect("a directory");
    let mut command = program(data.path());
    command.args(["--log", "kafka://no-such-host.invalid:9092"]);
    assert_refused(&mut command, &["no-such-host.invalid:9092", "check the address"]);
}

/// One wrong setting: flags, variables, a file, and what is said of it.
type WrongSetting =
    (&'static [&'static str], &'static [(&'static str, &'static str)], &'static str, &'static [&'static str]);

#[test]
fn wrong_settings_are_named_with_what_was_meant() {
    let cases: &[WrongSetting] = &[
        (&["--listen", "0.0.0.0:0"], &[], "", &["--listen", "0.0.0.0:0", "authentication", "--expose"]),
        (&["--rolle", "all"], &[], "", &["--rolle", "--role"]),
        (&["--role", "boss"], &[], "", &["boss", "command", "query"]),
        (&["--log", "postgres"], &[], "", &["postgres", "embedded", "memory", "kafka://"]),
        (&["--listen", "here"], &[], "", &["here", "--listen"]),
        (&[], &[("HEADWATER_LISTN", "127.0.0.1:0")], "", &["HEADWATER_LISTN", "HEADWATER_LISTEN"]),
        (&[], &[("HEADWATER_ROLE", "boss")], "", &["HEADWATER_ROLE", "boss", "query"]),
        (&[], &[], "lisden = \"127.0.0.1:0\"", &["lisden", "listen"]),
        (&[], &[], "role = 7", &["role", "7"]),
        (&[], &[], "role = ", &["TOML", "settings.toml"]),
        (&["--config", "/nowhere/settings.toml"], &[], "", &["/nowhere/settings.toml", "cannot be read"]),
    ];
    for (flags, variables, file, parts) in cases {
        let place = TempDir::new().expect("a directory");
        let settings = place.path().join("settings.toml");
        fs::write(&settings, file).expect("it can be written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_ordering"));
        command.current_dir(place.path()).args(*flags).envs(variables.iter().copied());
        if !file.is_empty() {
            command.arg("--config").arg(&settings);
        }
        let output = output_of(&mut command);
        let told = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.starts_with("error: "), "{told}");
        assert_words(&told, parts);
        assert!(!place.path().join("data").exists(), "no data was touched");
    }
}

#[test]
fn state_whose_log_is_missing_is_refused_and_left_as_it_is() {
    let place = TempDir::new().expect("a directory");
    let data = place.path().join("data");
    fs::create_dir_all(data.join("state").join("ordering.items")).expect("one may make directories");
    assert_refused(&mut program(&data), &[&text(&data), "no log", "put it back"]);
    assert!(data.join("state").join("ordering.items").exists(), "what is left of the data stays");
}
