//! Examples of Kafka Streams' documentation, as data: inputs, and after each what the documentation shows.
//!
//! A file of `golden/` names its source and its cases, and has a step for each input with the outputs expected after it,
//! for each case in order. An expected output that is no object is a value alone, as tables of joins show them; of an
//! object, only the fields it has are compared. Times are those of the documentation in milliseconds for whatever unit it
//! uses, except where a file says otherwise.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::compare::Options;
use crate::records::{Answer, Datum, Input, Output};

/// One example, for one or more cases that read the same inputs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// What it shows.
    pub about: String,
    /// Where in the documentation it stands.
    pub source: String,
    /// The cases it is for.
    pub cases: Vec<String>,
    /// Inputs with what follows.
    pub steps: Vec<Step>,
}

/// An input, and what each case writes after it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What goes in.
    pub input: Input,
    /// What comes out, for each case in order; nothing for all of them where it is left out.
    #[serde(default)]
    pub outputs: Vec<Vec<Value>>,
}

/// Reads all examples.
///
/// # Errors
/// Names the file that cannot be read, or has a step for another number of cases.
pub fn examples() -> Result<Vec<Example>, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files: Vec<_> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    files.sort();
    files.iter().map(|file| read(file).map_err(|error| format!("{}: {error}", file.display()))).collect()
}

fn read(file: &Path) -> Result<Example, String> {
    let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
    let example: Example = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let cases = example.cases.len();
    match example.steps.iter().position(|step| ![0, cases].contains(&step.outputs.len())) {
        Some(step) => Err(format!("step {step} does not have outputs for {cases} cases")),
        None => Ok(example),
    }
}

impl Example {
    /// The inputs of its steps.
    pub fn inputs(&self) -> Vec<Input> {
        self.steps.iter().map(|step| step.input.clone()).collect()
    }

    /// The same without the inputs that a comparison with these options leaves out.
    #[must_use]
    pub fn with(&self, options: Options) -> Example {
        let is_in = |step: &Step| match &step.input {
            Input::Record(record) => {
                (options.null_keys || record.key.is_some()) && (options.null_values || record.value.is_some())
            }
            Input::Clock { .. } => true,
        };
        Example { steps: self.steps.iter().filter(|step| is_in(step)).cloned().collect(), ..self.clone() }
    }

    /// Compares an answer to one of its cases.
    ///
    /// # Errors
    /// Says after which input which output was expected.
    pub fn check(&self, case: &str, answer: &Answer) -> Result<(), String> {
        let column = self.cases.iter().position(|own| own == case);
        let column = column.ok_or_else(|| format!("the example is not for {case}"))?;
        for (index, step) in self.steps.iter().enumerate() {
            let expected = step.outputs.get(column).map_or(&[][..], Vec::as_slice);
            let got: Vec<&Output> = answer.outputs.iter().filter(|output| output.after == index).collect();
            let equal = expected.len() == got.len() && expected.iter().zip(&got).all(|(e, g)| fits(e, g));
            if !equal {
                let got: Vec<String> = got.iter().map(|output| output.to_string()).collect();
                let expected: Vec<String> = expected.iter().map(Value::to_string).collect();
                return Err(format!("{case}, after {}: expected {expected:?}, got {got:?}", step.input));
            }
        }
        Ok(())
    }
}

fn fits(expected: &Value, output: &Output) -> bool {
    let Value::Object(fields) = expected else { return is(expected, output.value.as_ref()) };
    fields.iter().all(|(field, expected)| match field.as_str() {
        "topic" => expected == &output.topic,
        "key" => is(expected, output.key.as_ref()),
        "value" => is(expected, output.value.as_ref()),
        "time" => *expected == output.time,
        _ => false,
    })
}

fn is(expected: &Value, datum: Option<&Datum>) -> bool {
    serde_json::to_value(datum).is_ok_and(|datum| &datum == expected)
}
