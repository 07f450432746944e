//! Faults done to a running system, mended after their time, and counted where they really struck.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_broker::{Broker, run};

use crate::instance::Instance;
use crate::load::Load;
use crate::proxy::{Api, Mode, Proxy};
use crate::schedule::{Fault, Kind};

const TOOL_TIME_MAX: Duration = Duration::from_secs(120);
/// How often a group is tried to be deleted while the coordinator still believes that it has members.
const DELETE_ATTEMPTS: u32 = 40;
/// Longest that direct commands take to be answered.
const QUIET_TIME_MAX: Duration = Duration::from_secs(25);
/// What follows from the last command is committed, and its markers are written, within this time.
const QUIET: Duration = Duration::from_secs(1);
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";

/// The system that faults strike.
pub struct Ground {
    /// The broker.
    pub broker: Arc<Broker>,
    /// Its proxies, one for each instance.
    pub proxies: Vec<Proxy>,
    /// The instances.
    pub instances: Vec<Instance>,
    /// The load on them.
    pub load: Arc<Load>,
    /// How often each kind of fault struck.
    pub struck: BTreeMap<Kind, u64>,
    marks: Vec<u64>,
}

impl Ground {
    /// A system on which no fault has struck yet.
    pub fn new(broker: Arc<Broker>, proxies: Vec<Proxy>, instances: Vec<Instance>, load: Arc<Load>) -> Self {
        let marks = vec![0; proxies.len()];
        Self { broker, proxies, instances, load, struck: BTreeMap::new(), marks }
    }

    /// Lets the faults strike at their times; an error ends the run.
    ///
    /// # Errors
    /// What could not be done to the system, or an instance that ended by itself.
    pub async fn strike(&mut self, faults: &[Fault], report: impl Fn(String)) -> Result<(), String> {
        let begun = Instant::now();
        // What takes longer than planned moves all that comes after: what was to lie between two faults does.
        let mut late = Duration::ZERO;
        for (at, step) in steps(faults) {
            tokio::time::sleep((at + late).saturating_sub(begun.elapsed())).await;
            self.all_live(&report)?;
            let fault = match step {
                Step::Begin(fault) | Step::End(fault) => &faults[fault],
            };
            let word = if matches!(step, Step::Begin(_)) { "begins" } else { "ends" };
            report(format!("{:7.1} s  {word}: {fault}", begun.elapsed().as_secs_f64()));
            let done = match step {
                Step::Begin(_) => self.begin(fault).await,
                Step::End(_) => self.end(fault).await,
            };
            done.map_err(|error| format!("{fault}: {error}"))?;
            late = late.max(begun.elapsed().saturating_sub(at));
        }
        Ok(())
    }

    /// Starts those again that ended for want of the log, as whoever keeps programs running does.
    ///
    /// # Errors
    /// Which instance ended for another reason.
    pub fn all_live(&mut self, report: impl Fn(String)) -> Result<(), String> {
        for instance in &mut self.instances {
            if instance.revive()? {
                report(format!(
                    "           {} found no log when it started: it starts again",
                    instance.name()
                ));
            }
        }
        Ok(())
    }

    async fn begin(&mut self, fault: &Fault) -> Result<(), String> {
        let instance = &mut self.instances[fault.instance];
        let done = match fault.kind {
            Kind::Kill => instance.kill(),
            Kind::KillAndWipe => instance.wipe(),
            Kind::Hold => instance.hold(),
            Kind::HoldUnderDirectCommands => {
                self.load.only_direct(true);
                instance.hold()
            }
            Kind::KillBroker => return self.kill_broker().await,
            Kind::DeleteGroups => return self.delete_groups().await,
            Kind::Cut => return self.proxy(fault, Mode::Cut),
            Kind::Stall => return self.proxy(fault, Mode::Stalled),
            Kind::Slow => return self.proxy(fault, Mode::Slow(Duration::from_millis(150))),
            Kind::LoseCommitAnswers => return self.proxy(fault, Mode::LoseAnswers(Some(Api::END_TXN))),
            Kind::LoseAllAnswers => return self.proxy(fault, Mode::LoseAnswers(None)),
        };
        done.map_err(|error| error.to_string())
    }

    /// Kills the broker while nothing is being committed, and lets commands flow again at once.
    ///
    /// A lone broker that is killed between a commit's answer and its markers leaves the transaction open for ever: at
    /// its restart it takes partitions that have no leader yet for deleted ones, drops their markers, and completes.
    /// Tests with three brokers kill one of them in the middle of commits.
    async fn kill_broker(&mut self) -> Result<(), String> {
        self.load.hold(true);
        let deadline = Instant::now() + QUIET_TIME_MAX;
        while self.load.under_way() > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(QUIET).await;
        let killed = self.broker.kill().map_err(|error| error.to_string());
        self.load.hold(false);
        killed
    }

    fn proxy(&mut self, fault: &Fault, mode: Mode) -> Result<(), String> {
        let proxy = &self.proxies[fault.instance];
        self.marks[fault.instance] = proxy.struck();
        proxy.set(mode);
        Ok(())
    }

    async fn end(&mut self, fault: &Fault) -> Result<(), String> {
        let instance = &mut self.instances[fault.instance];
        let failed = |error: std::io::Error| error.to_string();
        let strikes = match fault.kind {
            Kind::Kill | Kind::KillAndWipe => instance.start().map(|()| 1).map_err(failed)?,
            Kind::Hold | Kind::HoldUnderDirectCommands => {
                self.load.only_direct(false);
                instance.let_go().map(|()| 1).map_err(failed)?
            }
            Kind::KillBroker => {
                let broker = self.broker.clone();
                let restarted = tokio::task::spawn_blocking(move || broker.restart()).await;
                restarted.expect("it does not panic").map(|()| 1).map_err(|error| error.to_string())?
            }
            Kind::DeleteGroups => 0,
            Kind::Cut | Kind::Stall | Kind::Slow | Kind::LoseCommitAnswers | Kind::LoseAllAnswers => {
                let proxy = &self.proxies[fault.instance];
                proxy.set(Mode::Pass);
                proxy.struck() - self.marks[fault.instance]
            }
        };
        *self.struck.entry(fault.kind).or_default() += strikes;
        Ok(())
    }

    /// Stops every instance, deletes every group with its offsets, and starts the instances again.
    async fn delete_groups(&mut self) -> Result<(), String> {
        for instance in &mut self.instances {
            let stopped = tokio::task::block_in_place(|| instance.stop());
            if !stopped.map_err(|error| error.to_string())? {
                return Err(format!("instance {} did not stop in order", instance.name()));
            }
        }
        let broker = self.broker.clone();
        let deleted = tokio::task::spawn_blocking(move || delete_groups(&broker)).await;
        *self.struck.entry(Kind::DeleteGroups).or_default() += deleted.expect("it does not panic")?;
        for instance in &mut self.instances {
            instance.start().map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// Deletes every group; answers how many there were.
fn delete_groups(broker: &Broker) -> Result<u64, String> {
    let bootstrap = broker.bootstrap();
    let mut refused = String::new();
    for _ in 0..DELETE_ATTEMPTS {
        let all = groups(broker, &["--list"])?;
        let all: Vec<&str> = all.lines().map(str::trim).filter(|group| !group.is_empty()).collect();
        let named = all.iter().flat_map(|group| ["--group", group]);
        let args: Vec<&str> =
            ["--bootstrap-server", &bootstrap, "--delete"].into_iter().chain(named).collect();
        match run(broker.jars().tool(GROUPS, &args), TOOL_TIME_MAX) {
            Ok(said) if said.contains("successful") => return Ok(all.len() as u64),
            Ok(said) => refused = said,
            Err(error) => refused = error.to_string(),
        }
    }
    Err(format!("the groups cannot be deleted: {refused}"))
}

fn groups(broker: &Broker, args: &[&str]) -> Result<String, String> {
    let bootstrap = broker.bootstrap();
    let args: Vec<&str> = ["--bootstrap-server", &bootstrap].iter().chain(args).copied().collect();
    run(broker.jars().tool(GROUPS, &args), TOOL_TIME_MAX).map_err(|error| error.to_string())
}

/// What happens at a time: a fault, by its index, begins or ends.
#[derive(Debug, Clone, Copy)]
enum Step {
    Begin(usize),
    End(usize),
}

/// Beginnings and ends of all faults in the order of their times.
fn steps(faults: &[Fault]) -> Vec<(Duration, Step)> {
    let both = |(index, fault): (usize, &Fault)| {
        [(fault.at, Step::Begin(index)), (fault.at + fault.lasts, Step::End(index))]
    };
    let mut steps: Vec<_> = faults.iter().enumerate().flat_map(both).collect();
    // Stable: what begins and ends at once does so in this order.
    steps.sort_by_key(|(at, _)| *at);
    steps
}
