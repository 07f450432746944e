//! Jars by Maven coordinates, kept under the workspace's target folder.
//!
//! A folder of jars is named after the digest of the pom that asked for it, one of classes after that and the digest of
//! the sources. Both are put in place by one rename: whole or absent, also when several processes fetch at once.

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
const COMPILE_TIME_MAX: Duration = Duration::from_secs(3 * 60);

/// A folder of jars on which Java programs run.
#[derive(Clone, Debug)]
pub struct Jars {
    folder: PathBuf,
    /// Classes compiled against the jars, before them on the class path.
    classes: Option<PathBuf>,
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
        Ok(Jars { folder, classes: None })
    }

    /// These jars with the classes of some Java sources, which are compiled unless they are there already.
    ///
    /// # Errors
    /// Says what the compiler said, or that a source cannot be read.
    pub fn compiled(&self, sources: &[PathBuf]) -> Result<Jars> {
        let digest = sources.iter().try_fold(0, |digest, file| {
            let source =
                fs::read(file).map_err(|error| Error::new(format!("{}: {error}", file.display())))?;
            Ok(crc32c::crc32c_append(digest, &source))
        })?;
        let name = self.folder.file_name().expect("the folder is one below the cache").to_string_lossy();
        let cache = target().join("classes");
        let classes = cache.join(format!("{name}-{digest:08x}"));
        if !classes.is_dir() {
            self.compile(sources, &cache, &classes)?;
        }
        Ok(Jars { folder: self.folder.clone(), classes: Some(classes) })
    }

    fn compile(&self, sources: &[PathBuf], cache: &Path, classes: &Path) -> Result<()> {
        place(cache, classes, |_, partial| {
            let mut javac = bound("javac");
            javac.arg("-cp").arg(self.class_path()).arg("-d").arg(partial).args(sources);
            run(javac, COMPILE_TIME_MAX).map(drop)
        })
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

    /// The class path that holds every jar, after the classes that were compiled.
    pub fn class_path(&self) -> PathBuf {
        let jars = self.folder.join("*");
        let Some(classes) = &self.classes else { return jars };
        let mut path = classes.clone().into_os_string();
        path.push(":");
        path.push(jars);
        path.into()
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
    place(cache, folder, |scratch, libs| {
        let file = scratch.join("pom.xml");
        fs::write(&file, pom).map_err(|error| Error::new(format!("{}: {error}", file.display())))?;
        let mut maven = bound("mvn");
        maven.args(["--batch-mode", "--quiet", "--file"]).arg(&file).arg("dependency:copy-dependencies");
        maven.arg(format!("-DoutputDirectory={}", libs.display()));
        run(maven, FETCH_TIME_MAX)
            .map(drop)
            .map_err(|error| Error::new(format!("Maven cannot fetch the jars: {error}")))
    })
}

/// Has a folder of the cache made in a scratch folder, and puts it in place whole.
fn place(cache: &Path, folder: &Path, make: impl FnOnce(&Path, &Path) -> Result<()>) -> Result<()> {
    let failed = |error: std::io::Error| Error::new(format!("{}: {error}", cache.display()));
    fs::create_dir_all(cache).map_err(failed)?;
    let scratch = tempfile::Builder::new().prefix("partial-").tempdir_in(cache).map_err(failed)?;
    let made = scratch.path().join("made");
    make(scratch.path(), &made)?;
    match fs::rename(&made, folder) {
        // Another process was first, with the same content.
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
