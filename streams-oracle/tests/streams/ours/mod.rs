//! The cases of the reference as apps of Headwater, run by its test driver.
//!
//! A case is a function that builds on a [`Plan`] what the Java function of the same name builds. Those of one kind of
//! operator stand in one file each; a case that is here is compared in the gate.

mod aggregations;
mod cogrouped;
pub(crate) mod data;
mod joins;
mod lookups;
mod plan;
mod processors;
mod stateless;
mod suppressed;
mod versions;
mod windows;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use streams_oracle::{Answer, Input, Options};

use self::data::json;
pub(crate) use self::plan::{Part, Plan};

/// A case of the reference on Headwater, and which differences are known.
pub(crate) struct Ours {
    pub(crate) case: String,
    pub(crate) options: Options,
    build: Box<dyn Fn(&mut Plan) + Send + Sync>,
}

/// All that are compared.
pub(crate) fn all() -> Vec<Ours> {
    [
        stateless::cases(),
        aggregations::cases(),
        cogrouped::cases(),
        windows::cases(),
        suppressed::cases(),
        joins::cases(),
        lookups::cases(),
        versions::cases(),
        processors::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Compared in everything that Headwater's test driver tells: a row's time is not.
fn ours(case: impl Into<String>, build: impl Fn(&mut Plan) + Send + Sync + 'static) -> Ours {
    let options = Options { row_times: false, ..Options::default() };
    Ours { case: case.into(), options, build: Box::new(build) }
}

impl Ours {
    /// A stream or table that takes no records without a key: one that comes stops the shard.
    fn with_keys(mut self) -> Ours {
        self.options.null_keys = false;
        self
    }

    /// What is told here with the first record that allows it is told later there, with another record's headers; and
    /// until then it can still be matched by what comes later than the grace.
    fn sooner(mut self, grace: Duration) -> Ours {
        self.options.moments = false;
        self.options.headers = false;
        self.late_at_most(grace)
    }

    /// What comes later is late for one of them, and not for the other.
    fn late_at_most(mut self, grace: Duration) -> Ours {
        self.options.lateness_ms_max = grace.as_millis() as i64;
        self
    }

    /// Where exactly at its end something closes differs.
    fn at_even_times(mut self) -> Ours {
        self.options.even_times = true;
        self
    }

    /// What the store holds is no view here.
    fn without_rows(mut self) -> Ours {
        self.options.store = false;
        self
    }

    /// Headers go on here, and are left behind there.
    fn without_headers(mut self) -> Ours {
        self.options.headers = false;
        self
    }

    /// Null values are dropped here, and aggregated there.
    fn with_values(mut self) -> Ours {
        self.options.null_values = false;
        self
    }

    /// Nobody is told of a row's end where there was none.
    fn without_void_deletes(mut self) -> Ours {
        self.options.void_deletes = false;
        self
    }

    /// What is dropped is counted otherwise: Kafka Streams also counts what changes nothing that is told.
    fn uncounted(mut self) -> Ours {
        self.options.dropped = false;
        self
    }

    /// The case under the name of an app, which begins the names of its topics.
    pub(crate) fn app(&self, name: &str) -> Plan {
        self.built(Plan::new(Part::Both, name, format!("{name}-")))
    }

    fn plan(&self, part: Part) -> Plan {
        self.built(Plan::new(part, "ours", String::new()))
    }

    fn built(&self, mut plan: Plan) -> Plan {
        (self.build)(&mut plan);
        plan
    }

    /// Runs the case from an empty state.
    pub(crate) fn run(&self, inputs: &[Input]) -> Result<Answer, String> {
        self.run_with_restarts(inputs, |_| false)
    }

    /// The same, restarted before some of the inputs.
    pub(crate) fn run_with_restarts(
        &self,
        inputs: &[Input],
        restarts: impl Fn(usize) -> bool,
    ) -> Result<Answer, String> {
        let answer = catch_unwind(AssertUnwindSafe(|| {
            let rows = self.plan(Part::Rows).run(inputs, &restarts).store;
            Answer { store: rows, ..self.plan(Part::Outputs).run(inputs, &restarts) }
        }));
        answer.map_err(|panic| *panic.downcast::<String>().unwrap_or_else(|_| Box::new("it panicked".into())))
    }
}

/// The first letter, where there is one.
fn initial(word: &str) -> Option<String> {
    word.chars().next().map(String::from)
}

fn has_a(word: &str) -> bool {
    word.contains('a')
}
