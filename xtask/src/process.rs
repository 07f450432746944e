//! Child processes in bounded time.
//!
//! A child that outlives its limit is killed with everything it started, so that no test server or compiler is left
//! behind, and no pipe stays open.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(20);

/// Runs a command to its end, its output passed through.
///
/// # Errors
/// Says that it could not start, ended with a failure, or took longer than `limit`.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Result<(), String> {
    let name = line(command);
    let mut child =
        command.stdin(Stdio::null()).spawn().map_err(|error| format!("cannot start {name}: {error}"))?;
    match wait(&mut child, limit).map_err(|error| format!("cannot wait for {name}: {error}"))? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("{name} ended with {status}")),
        None => Err(format!("{name} took longer than {} s and was killed", limit.as_secs())),
    }
}

/// What a command prints on its standard output.
///
/// # Errors
/// Says that it could not start, or ended with a failure, with what it printed as its error.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let name = line(command);
    let output =
        command.stdin(Stdio::null()).output().map_err(|error| format!("cannot start {name}: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "{name} ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command as one would type it: the program by its name, not by where it is.
fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words: Vec<_> = [program].into_iter().chain(command.get_args()).map(OsStr::to_string_lossy).collect();
    format!("`{}`", words.join(" "))
}

fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        sleep(POLL);
    }
    kill_with_descendants(child.id());
    child.kill()?;
    child.wait()?;
    Ok(None)
}

/// Children first would let a parent start new ones, so the list is taken first and all of it is killed at once.
fn kill_with_descendants(pid: u32) {
    let parents = parents();
    let mut doomed = vec![pid];
    let mut next = 0;
    while next < doomed.len() {
        let parent = doomed[next];
        doomed.extend(parents.iter().filter(|(_, of)| **of == parent).map(|(child, _)| *child));
        next += 1;
    }
    let pids = doomed.iter().map(u32::to_string);
    // The shell's own `kill`: a machine need not have the program. Those that ended meanwhile are no failure.
    let _ = Command::new("sh").args(["-c", "kill -9 \"$@\" 2>/dev/null", "sh"]).args(pids).status();
}

/// Each process's parent, from `/proc/<pid>/stat`: "pid (name) state ppid ..." (proc(5)). Empty where there is no `/proc`.
fn parents() -> HashMap<u32, u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return HashMap::new() };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name may hold spaces and brackets; what follows the last bracket does not.
            let parent = stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Result<(), String> {
        run(Command::new("sh").args(["-c", script]), limit)
    }

    #[test]
    fn a_command_passes_fails_or_is_missing() {
        let limit = Duration::from_secs(60);
        assert_eq!(shell("exit 0", limit), Ok(()));
        assert_eq!(shell("exit 3", limit), Err("`sh -c exit 3` ended with exit status: 3".into()));
        let missing = run(&mut Command::new("headwater-no-such-program"), limit).unwrap_err();
        assert!(missing.starts_with("cannot start `headwater-no-such-program`"), "{missing}");
    }

    #[test]
    fn a_command_past_its_limit_is_killed_with_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let pid_file = folder.path().join("pid");
        let script = format!("sleep 300 & echo $! > {}; wait", pid_file.display());
        let error = shell(&script, Duration::from_secs(1)).unwrap_err();
        assert!(error.contains("took longer than 1 s"), "{error}");
        let grandchild: u32 = fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
        assert!(!is_running(grandchild), "process {grandchild} was left behind");
    }

    /// A killed process that nobody has waited for yet is a zombie, not running.
    fn is_running(pid: u32) -> bool {
        let dead =
            |stat: &str| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'));
        (0..500).all(|_| {
            sleep(POLL);
            fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !dead(&stat))
        })
    }
}
