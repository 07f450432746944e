//! The same inputs on both systems, and what differs, shown on as few inputs as still show it.

use std::collections::HashSet;
use std::fmt::{self, Write as _};

use crate::oracle::{Case, Oracle};
use crate::random::random_inputs;
use crate::records::{Answer, Input, Output, Row};

/// Runs spent on making the inputs fewer.
const SHRINKING_RUNS_MAX: usize = 400;

/// Which inputs a case has, and what of its answers must be equal: everything, except for differences that are known.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether there are records without a key.
    pub null_keys: bool,
    /// Whether there are records without a value.
    pub null_values: bool,
    /// How late records come at most, by the times of those before them.
    pub lateness_ms_max: i64,
    /// Whether all times are even, so that none is exactly an odd length after another.
    pub even_times: bool,
    /// Whether some records have headers, which must be equal in what comes out.
    pub headers: bool,
    /// Whether each output must come after the same input; otherwise all of them must come in the end, in any order.
    pub moments: bool,
    /// Whether outputs count that delete a row which is not there: the first of its key, or after another delete.
    pub void_deletes: bool,
    /// Whether the rows left in the store must be equal.
    pub store: bool,
    /// Whether they must have been changed last at equal times.
    pub row_times: bool,
    /// Whether equally many records must have been dropped.
    pub dropped: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            null_keys: true,
            null_values: true,
            lateness_ms_max: i64::MAX,
            even_times: false,
            headers: true,
            moments: true,
            void_deletes: true,
            store: true,
            row_times: true,
            dropped: true,
        }
    }
}

/// Two answers to one case that should be equal and are not.
pub struct Difference {
    case: Case,
    seed: u64,
    inputs: Vec<Input>,
    theirs: Result<Answer, String>,
    ours: Result<Answer, String>,
}

/// Runs a case by a seed on Kafka Streams and on the system under test, which must answer alike.
///
/// Equal must be: the outputs of each topic in order, each with key, value, time, headers and the input that it came
/// after; the rows of the store; and how many records were dropped; as far as `options` say. The order between topics
/// may differ. `ours` runs the same case on the system under test, each time from an empty state.
///
/// # Errors
/// The difference, with fewer inputs where fewer show it too.
pub fn compare(
    oracle: &Oracle,
    case: &Case,
    seed: u64,
    options: Options,
    ours: impl Fn(&[Input]) -> Result<Answer, String>,
) -> Result<(), Box<Difference>> {
    let both = |inputs: &[Input]| Both {
        theirs: oracle.run(&case.name, inputs).map(|answer| comparable(answer, options)),
        ours: ours(inputs).map(|answer| comparable(answer, options)),
    };
    let inputs = random_inputs(case, seed, options);
    let first = both(&inputs);
    if first.agree() {
        return Ok(());
    }
    // Without the last records, which close every window, the one that tells later has not told everything.
    let last = if options.moments { 0 } else { case.sources.len() };
    let (inputs, Both { theirs, ours }) = shrink(inputs, last, first, both);
    Err(Box::new(Difference { case: case.clone(), seed, inputs, theirs, ours }))
}

struct Both {
    theirs: Result<Answer, String>,
    ours: Result<Answer, String>,
}

impl Both {
    /// An error is never agreement: whoever sent such inputs wants to know.
    fn agree(&self) -> bool {
        match (&self.theirs, &self.ours) {
            (Ok(theirs), Ok(ours)) => theirs == ours,
            _ => false,
        }
    }
}

/// Leaves out inputs, many at a time and then fewer, as long as the answers still differ; never the `last` ones.
fn shrink(
    mut inputs: Vec<Input>,
    last: usize,
    mut kept: Both,
    both: impl Fn(&[Input]) -> Both,
) -> (Vec<Input>, Both) {
    let mut runs = 0;
    let mut chunk = inputs.len().div_ceil(2);
    while chunk > 0 && runs < SHRINKING_RUNS_MAX {
        let mut start = 0;
        let before = inputs.len();
        while start + last < inputs.len() && runs < SHRINKING_RUNS_MAX {
            let mut fewer = inputs.clone();
            fewer.drain(start..(start + chunk).min(inputs.len() - last));
            let tried = both(&fewer);
            runs += 1;
            if tried.agree() {
                start += chunk;
            } else {
                (inputs, kept) = (fewer, tried);
            }
        }
        // Single inputs are tried again as long as that helps: one may only be left out after another.
        chunk = if chunk == 1 && inputs.len() < before { 1 } else { chunk / 2 };
    }
    (inputs, kept)
}

/// Leaves out what deletes a row that is not there.
fn leave_out_void_deletes(outputs: &mut Vec<Output>) {
    let mut there = HashSet::new();
    outputs.retain(|Output { topic, key, value, .. }| {
        let row = (topic.clone(), key.as_ref().map(ToString::to_string));
        if value.is_none() {
            return there.remove(&row);
        }
        there.insert(row);
        true
    });
}

/// What must be equal of an answer, in one order: outputs by input and topic, and rows by key.
fn comparable(mut answer: Answer, options: Options) -> Answer {
    if !options.void_deletes {
        leave_out_void_deletes(&mut answer.outputs);
    }
    if !options.moments {
        answer.outputs.iter_mut().for_each(|output| output.after = 0);
        answer.outputs.sort_by_key(ToString::to_string);
    }
    if !options.store {
        answer.store.clear();
    }
    if !options.row_times {
        answer.store.iter_mut().for_each(|row| row.time = None);
    }
    if !options.dropped {
        answer.dropped = 0;
    }
    answer.outputs.sort_by(|a, b| (a.after, &a.topic).cmp(&(b.after, &b.topic)));
    answer.store.sort_by_key(|row| row.key.to_string());
    answer
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { case, seed, inputs, theirs, ours } = self;
        writeln!(f, "{} differs with seed {seed} ({})", case.name, case.about)?;
        writeln!(f, "  - Kafka Streams alone   + Headwater alone   = both")?;
        match (theirs, ours) {
            (Ok(theirs), Ok(ours)) => write!(f, "{}", diff(inputs, theirs, ours)),
            _ => {
                inputs.iter().try_for_each(|input| writeln!(f, "{input}"))?;
                failed(f, "Kafka Streams", theirs)?;
                failed(f, "Headwater", ours)
            }
        }
    }
}

impl fmt::Debug for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

fn failed(f: &mut fmt::Formatter<'_>, who: &str, answer: &Result<Answer, String>) -> fmt::Result {
    match answer {
        Ok(_) => writeln!(f, "{who} answered"),
        Err(error) => writeln!(f, "{who} failed: {error}"),
    }
}

fn diff(inputs: &[Input], theirs: &Answer, ours: &Answer) -> String {
    let mut text = String::new();
    for (index, input) in inputs.iter().enumerate() {
        writeln!(text, "{input}").expect("a string takes every write");
        let of = |answer: &Answer| -> Vec<String> {
            answer.outputs.iter().filter(|output| output.after == index).map(Output::to_string).collect()
        };
        lines(&mut text, &of(theirs), &of(ours));
    }
    let rows = |answer: &Answer| -> Vec<String> { answer.store.iter().map(Row::to_string).collect() };
    if theirs.store != ours.store {
        writeln!(text, "the store in the end").expect("a string takes every write");
        lines(&mut text, &rows(theirs), &rows(ours));
    }
    if theirs.dropped != ours.dropped {
        writeln!(text, "records dropped\n  - {}\n  + {}", theirs.dropped, ours.dropped)
            .expect("a string takes every write");
    }
    text
}

/// What both begin with and end with is shown once, what lies between of each by itself.
fn lines(text: &mut String, theirs: &[String], ours: &[String]) {
    let begin = theirs.iter().zip(ours).take_while(|(one, other)| one == other).count();
    let (one, other) = (&theirs[begin..], &ours[begin..]);
    let end = one.iter().rev().zip(other.iter().rev()).take_while(|(one, other)| one == other).count();
    let (one, last) = one.split_at(one.len() - end);
    let other = &other[..other.len() - end];
    for (sign, lines) in [("=", &theirs[..begin]), ("-", one), ("+", other), ("=", last)] {
        for line in lines {
            writeln!(text, "  {sign} {line}").expect("a string takes every write");
        }
    }
}
