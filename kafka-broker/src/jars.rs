//! Jars by Maven coordinates, kept under the workspace's target folder.
//!
//! A folder of jars is named after the digest of the pom that asked for it, and put in place by one rename: it is
//! whole or absent, also when several processes fetch at once.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::process::{bound, run};

/// The broker's own pom.
pub(crate) const POM: &str = include_str!("../pom.xml");

const INSTALL: &str = "apt-get install -y --no-install-recommends default-jdk-headless maven";
const FETCH_TIME_MAX: Duration = Duration::from_secs(10 * 60);

/// A folder of jars on which Java programs run.
#[derive(Clone, Debug)]
pub struct Jars {
    folder: PathBuf,
}

/// The version of Apache Kafka that the pom pins.
pub fn version() -> &'static str {
    let (_, rest) = POM.split_once("<kafka.version>").expect("the pom pins Kafka's version");
    rest.split_once('<').expect("the pin is an element").0
}

impl Jars {
    /// The broker and its tools.
    ///
    /// # Errors
    /// Says that Java or Maven is missing, or what Maven said.
    pub fn kafka() -> Result<Jars> {
        Jars::fetch(POM)
    }

    /// Whatever a pom names, with all that it needs, fetched unless it is there already.
    ///
    /// # Errors
    /// Says that Java or Maven is missing, or what Maven said.
    pub fn fetch(pom: &str) -> Result<Jars> {
        let cache = target().join("jars");
        let folder = cache.join(format!("{:08x}", crc32c::crc32c(pom.as_bytes())));
        if !folder.is_dir() {
            require("java", "-version")?;
            require("mvn", "-version")?;
            download(pom, &cache, &folder)?;
        }
        Ok(Jars { folder })
    }

    /// A command that runs a class of these jars, such as one of Kafka's tools.
    ///
    /// Run it by [`run`](crate::run), or add to it first; it dies with this process.
    pub fn tool(&self, class: &str, args: &[&str]) -> Command {
        let mut java = self.java(&["-Xmx128m", "-XX:TieredStopAtLevel=1"]);
        java.arg(class).args(args);
        java
    }

    /// A command that compiles and runs one Java source file against these jars.
    pub fn source(&self, file: &Path, args: &[&str]) -> Command {
        let mut java = self.java(&["-Xmx256m"]);
        java.arg(file).args(args);
        java
    }

    /// Java with these options and the jars as its class path.
    pub fn java(&self, options: &[&str]) -> Command {
        let mut java = bound("java");
        java.args(options).arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn");
        java.arg("-cp").arg(self.class_path());
        java
    }

    /// The class path that holds every jar.
    pub fn class_path(&self) -> PathBuf {
        self.folder.join("*")
    }
}

fn require(program: &str, version: &str) -> Result<()> {
    let mut command = bound(program);
    command.arg(version);
    run(command, Duration::from_secs(60))
        .map(drop)
        .map_err(|error| Error::new(format!("{program} is missing ({error}); install it by: {INSTALL}")))
}

fn download(pom: &str, cache: &Path, folder: &Path) -> Result<()> {
    let failed = |error: std::io::Error| Error::new(format!("{}: {error}", cache.display()));
    fs::create_dir_all(cache).map_err(failed)?;
    let partial = tempfile::Builder::new().prefix("partial-").tempdir_in(cache).map_err(failed)?;
    let file = partial.path().join("pom.xml");
    fs::write(&file, pom).map_err(failed)?;
    let libs = partial.path().join("libs");
    let mut maven = bound("mvn");
    maven.args(["--batch-mode", "--quiet", "--file"]).arg(&file).arg("dependency:copy-dependencies");
    maven.arg(format!("-DoutputDirectory={}", libs.display()));
    run(maven, FETCH_TIME_MAX)
        .map_err(|error| Error::new(format!("Maven cannot fetch the jars: {error}")))?;
    match fs::rename(&libs, folder) {
        // Another process was first, with the same jars.
        Err(_) if folder.is_dir() => Ok(()),
        result => result.map_err(failed),
    }
}

/// Cargo's target folder: its own variable, or the workspace's.
fn target() -> PathBuf {
    let workspace =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is a folder of the workspace");
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from)
}
