//! The JVM that answers: started once, asked line by line, killed with its owner.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use kafka_broker::{Jars, scratch, spawn, version};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tempfile::TempDir;

use crate::records::{Answer, Input};

const POM: &str = include_str!("../pom.xml");
/// Longest wait for one answer: a case takes milliseconds, but the JVM's start and a busy machine come on top.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(120);

/// A topology that the reference has under a name.
#[derive(Clone, Debug, Deserialize)]
pub struct Case {
    /// The operator, and after a hyphen which of its options.
    pub name: String,
    /// What the topology does, in a sentence.
    pub about: String,
    /// What it reads.
    pub sources: Vec<Source>,
}

/// A topic that a case reads.
#[derive(Clone, Debug, Deserialize)]
pub struct Source {
    /// Its name; empty for the wall clock.
    pub topic: String,
    /// What its values are like, as `java/Case.java` names them.
    pub values: String,
    /// Whether records without a key may be among them.
    #[serde(rename = "nullKeys")]
    pub null_keys: bool,
}

/// Kafka Streams' test driver in a process of its own, which serves any number of cases.
pub struct Oracle {
    child: Child,
    line: Mutex<Line>,
    /// Where stores lie that cannot be kept in memory.
    _state: TempDir,
}

struct Line {
    requests: ChildStdin,
    answers: Receiver<String>,
}

impl Oracle {
    /// Fetches the jars and compiles the topologies where that is not done yet, and starts the JVM.
    ///
    /// # Errors
    /// Says that Java or Maven is missing, or what the compiler said.
    pub fn start() -> Result<Oracle, String> {
        let jars =
            Jars::fetch(&POM.replace("KAFKA_VERSION", version())).map_err(|error| error.to_string())?;
        let jars = jars.compiled(&sources()?).map_err(|error| error.to_string())?;
        let state = scratch().map_err(|error| error.to_string())?;
        let mut java = jars.java(&["-Xmx256m", "-XX:TieredStopAtLevel=1"]);
        java.arg("Reference").arg(state.path());
        // It logs every exception that it answers.
        java.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = spawn(java).map_err(|error| error.to_string())?;
        let requests = child.stdin.take().expect("the input is piped");
        let output = BufReader::new(child.stdout.take().expect("the output is piped"));
        let (answered, answers) = channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| answered.send(line)));
        Ok(Oracle { child, line: Mutex::new(Line { requests, answers }), _state: state })
    }

    /// All its cases.
    ///
    /// # Errors
    /// When the JVM does not answer.
    pub fn cases(&self) -> Result<Vec<Case>, String> {
        #[derive(Deserialize)]
        struct List {
            cases: Vec<Case>,
        }
        self.ask::<List>(&json!({ "list": true })).map(|list| list.cases)
    }

    /// The case of a name.
    ///
    /// # Errors
    /// When there is none, or the JVM does not answer.
    pub fn case(&self, name: &str) -> Result<Case, String> {
        let found = self.cases()?.into_iter().find(|case| case.name == name);
        found.ok_or_else(|| format!("the reference has no case {name:?}"))
    }

    /// Runs a case from an empty state.
    ///
    /// # Errors
    /// What Kafka Streams threw, or that the JVM does not answer.
    pub fn run(&self, case: &str, inputs: &[Input]) -> Result<Answer, String> {
        self.ask(&json!({ "topology": case, "inputs": inputs }))
    }

    fn ask<T: DeserializeOwned>(&self, request: &serde_json::Value) -> Result<T, String> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Reply<T> {
            Error { error: String },
            Answer(T),
        }
        let mut line = self.line.lock().map_err(|_| "an earlier request was broken off")?;
        writeln!(line.requests, "{request}").map_err(|error| format!("the reference has ended: {error}"))?;
        let answer = line.answers.recv_timeout(ANSWER_TIME_MAX);
        let answer = answer.map_err(|error| format!("the reference does not answer: {error}"))?;
        match serde_json::from_str(&answer).map_err(|error| format!("{error} in {answer}"))? {
            Reply::Answer(answer) => Ok(answer),
            Reply::Error { error } => Err(error),
        }
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The Java sources, in one order.
fn sources() -> Result<Vec<PathBuf>, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("java");
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let entries = fs::read_dir(&folder).map_err(failed)?;
    let mut files = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "java"));
    files.sort();
    Ok(files)
}
