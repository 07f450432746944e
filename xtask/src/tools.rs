//! What suites need beyond cargo: found, installed where that is allowed, or named with the way to get it.
//!
//! Installed are: `cargo-deny`, by cargo, into a folder of its own under cargo's home; Chromium, Java and Maven, by
//! `apt-get`, when run by root; npm packages, from a lock file, into the folder that names them; Kafka's jars, by Maven.
//! `--no-install` forbids all of it.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use kafka_broker::Jars;

use crate::process;

/// The one place that pins the version of cargo-deny.
const CARGO_DENY: &str = "0.20.2";

/// The names under which Chromium is found on `PATH`.
const CHROMIUM_NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
const CHROMIUM_INSTALL: &str = "apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium fonts-liberation";
/// What fetches and runs Kafka: a Java that also compiles, Maven, and `setpriv`.
const JAVA_NAMES: [&str; 4] = ["java", "javac", "mvn", "setpriv"];
const JAVA_INSTALL: &str = "apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends default-jdk-headless maven util-linux";

const INSTALL_TIME_MAX: Duration = Duration::from_secs(15 * 60);

/// An environment variable for a suite: its name and value.
pub(crate) type Variable = (String, OsString);

/// Where the workspace is, and whether anything may be installed.
pub(crate) struct Tools {
    pub(crate) root: PathBuf,
    pub(crate) may_install: bool,
}

/// Something that a suite cannot run without.
pub(crate) enum Need {
    /// The pinned cargo-deny; `cargo deny` finds it.
    CargoDeny,
    /// A Chromium; `CHROMIUM` names it.
    Chromium,
    /// A debug build of this app, which tests can tell more than users; `HEADWATER_BIN_<APP>` names it.
    Debug(&'static str),
    /// Apache Kafka's jars, and the Java that runs them.
    Kafka,
    /// A release build of this app; `HEADWATER_BIN_<APP>` names it.
    Release(&'static str),
}

impl Need {
    /// Finds or installs it, and answers the environment by which the suite finds it.
    ///
    /// # Errors
    /// Says what is missing and how to get it.
    pub(crate) fn meet(&self, tools: &Tools) -> Result<Vec<Variable>, String> {
        match self {
            Need::CargoDeny => cargo_deny(tools),
            Need::Chromium => chromium(tools),
            Need::Debug(app) => debug(tools, app),
            Need::Kafka => kafka(tools),
            Need::Release(app) => release(tools, app),
        }
    }
}

impl Tools {
    /// The cargo that runs this program, at the root.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.root);
        cargo
    }

    /// npm in a folder of the workspace.
    pub(crate) fn npm(&self, folder: &str) -> Command {
        let mut npm = Command::new("npm");
        npm.current_dir(self.root.join(folder));
        npm
    }

    fn install_by_apt(&self, what: &str, by_hand: &str) -> Result<(), String> {
        if !is_root() {
            return Err(format!("{what} is missing; install it as root by: {by_hand}"));
        }
        self.install(what, by_hand, Command::new("sh").args(["-c", by_hand]))
    }

    fn install(&self, what: &str, by_hand: &str, command: &mut Command) -> Result<(), String> {
        if !self.may_install {
            return Err(format!("{what} is missing; install it by: {by_hand}"));
        }
        println!("{what} is missing; installing it by: {by_hand}");
        process::run(command, INSTALL_TIME_MAX).map_err(|error| {
            format!("{what} is missing and could not be installed ({error}); by hand: {by_hand}")
        })
    }
}

/// Installs the packages that a folder's lock file names, unless they are the ones installed already.
///
/// # Errors
/// Says what is missing: the lock file, npm, or a package.
pub(crate) fn install_npm_packages(tools: &Tools, folder: &str) -> Result<(), String> {
    let lock = tools.root.join(folder).join("package-lock.json");
    let wanted = modified(&lock).ok_or_else(|| format!("{folder}/package-lock.json is missing"))?;
    if find_on_path("npm").is_none() {
        return Err("npm is missing; install Node.js 20 or later, which brings it".into());
    }
    // npm writes this file last, when all packages are in place.
    let installed = modified(&tools.root.join(folder).join("node_modules/.package-lock.json"));
    if installed.is_some_and(|installed| installed >= wanted) {
        return Ok(());
    }
    let what = format!("a current {folder}/node_modules");
    let by_hand = format!("npm ci --prefix {folder}");
    tools.install(&what, &by_hand, tools.npm(folder).args(["ci", "--no-audit", "--no-fund"]))
}

fn modified(file: &Path) -> Option<SystemTime> {
    file.metadata().ok()?.modified().ok()
}

/// The version on `PATH` serves if it is the pinned one; another is left alone, and the pinned one lives beside it.
fn cargo_deny(tools: &Tools) -> Result<Vec<Variable>, String> {
    let pinned = format!("cargo-deny {CARGO_DENY}");
    if process::output(Command::new("cargo-deny").arg("--version"))
        .is_ok_and(|version| version.trim() == pinned)
    {
        return Ok(vec![]);
    }
    let home = cargo_home()
        .ok_or("neither CARGO_HOME nor HOME is set")?
        .join(format!("tools/cargo-deny-{CARGO_DENY}"));
    if !home.join("bin/cargo-deny").is_file() {
        // Unoptimised: it builds in a quarter of the time and checks these few hundred crates in a second.
        let args = ["install", "cargo-deny", "--locked", "--version", CARGO_DENY, "--debug", "--root"];
        let by_hand = format!("cargo install cargo-deny --locked --version {CARGO_DENY}");
        tools.install(&pinned, &by_hand, tools.cargo().args(args).arg(&home))?;
    }
    Ok(vec![("PATH".into(), path_with(&home.join("bin"))?)])
}

fn chromium(tools: &Tools) -> Result<Vec<Variable>, String> {
    if find_chromium().is_none() {
        tools.install_by_apt("Chromium", CHROMIUM_INSTALL)?;
    }
    let found = find_chromium().ok_or("Chromium was installed, but is not on PATH")?;
    Ok(vec![("CHROMIUM".into(), found.into())])
}

/// The jars are fetched here, so that no test's time goes into it.
fn kafka(tools: &Tools) -> Result<Vec<Variable>, String> {
    if let Some(missing) = missing_on_path(&JAVA_NAMES) {
        tools.install_by_apt(&format!("{missing} (a JDK and Maven, for Kafka)"), JAVA_INSTALL)?;
    }
    if let Some(missing) = missing_on_path(&JAVA_NAMES) {
        return Err(format!("a JDK and Maven were installed, but {missing} is not on PATH"));
    }
    Jars::kafka().map(|_| vec![]).map_err(|error| format!("Kafka's jars are missing: {error}"))
}

/// Built beside what the root's `cargo run --release` builds, so that one build serves all apps.
fn release(tools: &Tools, app: &str) -> Result<Vec<Variable>, String> {
    let build = ["build", "--locked", "--release", "-p", "showcase", "-p", "ordering", "-p", "shortener"];
    process::run(tools.cargo().args(build), INSTALL_TIME_MAX)?;
    built(tools, "release", app)
}

/// Where a build lies, in the variable by which tests find it.
fn built(tools: &Tools, profile: &str, app: &str) -> Result<Vec<Variable>, String> {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| tools.root.join("target"), PathBuf::from);
    let binary = target.join(profile).join(app);
    if !binary.is_file() {
        return Err(format!("the {profile} build left no {}", binary.display()));
    }
    Ok(vec![(format!("HEADWATER_BIN_{}", app.to_uppercase().replace('-', "_")), binary.into())])
}

/// Built as the suite of tests builds it.
fn debug(tools: &Tools, app: &str) -> Result<Vec<Variable>, String> {
    process::run(tools.cargo().args(["build", "--locked", "--workspace", "--bin", app]), INSTALL_TIME_MAX)?;
    built(tools, "debug", app)
}

fn find_chromium() -> Option<PathBuf> {
    CHROMIUM_NAMES.iter().find_map(|name| find_on_path(name))
}

fn missing_on_path(names: &[&'static str]) -> Option<&'static str> {
    names.iter().copied().find(|name| find_on_path(name).is_none())
}

fn find_on_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn path_with(first: &Path) -> Result<OsString, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths([first.to_path_buf()].into_iter().chain(env::split_paths(&path)))
        .map_err(|error| format!("{} cannot be put on PATH: {error}", first.display()))
}

fn cargo_home() -> Option<PathBuf> {
    let own = env::var_os("CARGO_HOME").map(PathBuf::from);
    own.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))
}

fn is_root() -> bool {
    process::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}
