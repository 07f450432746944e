//! Headwater's own benchmarks: one table of figures, each beside its mark.
//!
//! `cargo run --release -p headwater-bench` runs all; names after `--` choose. Every durable figure is measured on the
//! embedded log in a temporary directory under the current one, so that it is a disk's and not memory's, or on the Kafka
//! cluster that `HEADWATER_LOG` names, or on a broker of its own where it names none.

mod commands;
mod fixture;
mod reads;
mod rebuild;
mod report;
mod windows;

use report::Report;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A benchmark: its name, what it measures, how.
type Benchmark = (&'static str, fn(&mut Report));

const BENCHMARKS: [Benchmark; 8] = [
    ("commands", commands::many_callers),
    ("latency", commands::one_caller),
    ("hot", commands::hot_aggregate),
    ("kafka", commands::on_kafka),
    ("reads", reads::point_reads),
    ("reads-under-writes", reads::under_writes),
    ("rebuild", rebuild::rebuild),
    ("windows", windows::windows),
];

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = wanted.iter().find(|name| BENCHMARKS.iter().all(|(known, _)| known != name)) {
        let known: Vec<_> = BENCHMARKS.iter().map(|(name, _)| *name).collect();
        eprintln!("there is no benchmark \"{unknown}\"; there are: {}", known.join(", "));
        std::process::exit(2);
    }
    let mut report = Report::default();
    for (name, run) in BENCHMARKS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            eprintln!("running {name}");
            run(&mut report);
        }
    }
    println!("{report}");
}
