//! Asking a log for an app's topics, and doing what their plan says.
//!
//! A start makes what is missing and refuses the rest. Only an operator's word alters a topic, or lets a loss or another
//! definition pass.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use headwater_core::clock::Clock;
use headwater_core::log::{Log, LogError, LogErrorKind, TopicDescription};
use headwater_core::topic::TopicName;
use serde_json::json;
use tokio::time::Instant;

use super::begin_anew::Lost;
use super::counts::Counts;
use super::declared::{Purpose, TopicDeclaration, WritingGroup, definitions};
use super::plan::{Action, DefinitionConflict, Known, Place, Plan, goes_on, is_replaceable};
use super::registry::{Facts, Registry, topic_key, topology_key};
use crate::app::App;

/// For how long a plan is made again because topics appeared while they were being made, or are not known to all brokers
/// yet: other instances start, too.
const MAKING_TIME_MAX: Duration = Duration::from_secs(30);
/// How long the others are left alone before that.
const PAUSE: Duration = Duration::from_millis(250);

/// An app's topics as they are, and what is remembered of them.
pub(crate) struct Survey {
    pub(crate) plan: Plan,
    counts: Counts,
    pub(crate) topics: BTreeMap<TopicName, TopicDescription>,
    pub(crate) registry: Registry,
}

/// What is remembered of a migration into this log.
pub(crate) const MIGRATION: &str = "migration";

/// What an operator lets pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Word {
    /// Topics that were lost.
    pub(crate) accept_loss: BTreeSet<String>,
    /// Topologies that are defined otherwise.
    pub(crate) replace: BTreeSet<String>,
    /// A migration that is not finished: the one that asks.
    pub(crate) migrating: bool,
}

impl Survey {
    /// Asks the log; changes nothing.
    pub(crate) async fn of(log: &dyn Log, app: &App, place: &Place, word: &Word) -> Result<Self, LogError> {
        let mut registry = Registry::new(&definitions(&app.name).name);
        let counts = Counts::of(log, app).await?;
        let declared = declared(log, app, &counts);
        let asked = declared.iter().map(|topic| log.describe(&topic.name));
        let there = futures_util::future::join_all(asked).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        let topics: BTreeMap<_, _> =
            there.into_iter().flatten().map(|topic| (topic.name.clone(), topic)).collect();
        if topics.contains_key(&definitions(&app.name).name) {
            registry.read(log).await?;
        }
        let known = |declared: TopicDeclaration| {
            let there = topics.get(&declared.name).cloned();
            // Instances write themselves anew: nothing is lost with their topic.
            let given_up =
                word.accept_loss.contains(declared.name.as_str()) || declared.purpose == Purpose::Instances;
            let recorded = registry.topic_id(&declared.name);
            Known {
                declared,
                there,
                recorded,
                replicas: log.replicas_wanted(),
                machines: log.machines(),
                given_up,
            }
        };
        let known = declared.into_iter().map(known).collect();
        let conflicts = conflicts(app, place, &registry, word);
        let mut plan = Plan::new(&app.name, place, known, conflicts);
        Lost::of(&plan.steps, app, &counts).refuse_repeats(&mut plan.steps, app, place, word);
        app.refuse_uneven(&mut plan.steps, &counts);
        let begun = registry.get(MIGRATION).filter(|fact| fact["state"] == crate::migrate::BEGUN);
        plan.unfinished = begun.filter(|_| !word.migrating).map(|fact| {
            format!(
                "a migration from log {} into this log is not finished: run `{} migrate embedded-to-kafka` again with \
                 the flags it was begun with",
                fact["from"].as_str().unwrap_or_default(), app.name
            )
        });
        Ok(Self { plan, counts, topics, registry })
    }

    /// Makes what is missing; alters what differs where that was asked for.
    ///
    /// Answers whether a topic appeared meanwhile, made by somebody else and maybe otherwise.
    async fn carry_out(&mut self, log: &dyn Log, alter: bool) -> Result<bool, LogError> {
        let mut surprised = false;
        for step in &self.plan.steps {
            let topic = match &step.action {
                Action::Create => match log.create(&step.topic, step.needs).await {
                    Err(error) if error.kind() == LogErrorKind::TopicExists => {
                        surprised = true;
                        continue;
                    }
                    made => made?,
                },
                Action::Alter(_) if alter => log.alter(&step.topic, step.needs).await?,
                Action::Remake(_) if alter => {
                    log.delete(&step.topic).await?;
                    log.create(&step.topic, step.needs).await?
                }
                Action::Alter(_) | Action::Remake(_) | Action::Keep | Action::Refuse(_) => continue,
            };
            self.topics.insert(step.topic.clone(), topic);
        }
        Ok(surprised)
    }

    /// Lets what stood on topics that were lost begin anew, before they are recorded as they are now.
    async fn go_on_without(&mut self, log: &dyn Log, app: &App) -> Result<(), LogError> {
        let lost = Lost::of(&self.plan.steps, app, &self.counts);
        for topic in lost.along(&self.plan.steps) {
            let needs = self.topics[&topic].settings;
            log.delete(&topic).await?;
            let made = log.create(&topic, needs).await?;
            self.topics.insert(topic, made);
        }
        lost.begin_anew(log, app, &self.counts).await
    }

    /// Records what the app is made of now, where that is not what is recorded.
    async fn record(&mut self, log: &dyn Log, app: &App, clock: &dyn Clock) -> Result<(), LogError> {
        let ids =
            self.topics.values().map(|topic| (topic_key(&topic.name), json!({"id": topic.id.to_string()})));
        let defined = app.fixed_definitions().into_iter().map(|(name, fixed)| (topology_key(&name), fixed));
        let facts: Facts = ids.chain(defined).collect();
        self.registry.state(log, clock, &facts).await
    }
}

/// The app's topics, and those in which the log itself keeps what it knows of the app's shards.
fn declared(log: &dyn Log, app: &App, counts: &Counts) -> Vec<TopicDeclaration> {
    let mut declared = app.topics_beside(counts);
    for WritingGroup { group, .. } in app.writing_groups(counts) {
        let kept = log.topics_of(&group).into_iter();
        declared.extend(kept.map(|(name, settings)| TopicDeclaration {
            name,
            settings,
            purpose: Purpose::Heads(group.name.clone()),
        }));
    }
    declared
}

fn conflicts(app: &App, place: &Place, registry: &Registry, word: &Word) -> Vec<DefinitionConflict> {
    let fixed = app.fixed_definitions();
    let conflict = |(name, defined): (String, serde_json::Value)| {
        let recorded = registry.get(&topology_key(&name)).filter(|recorded| !goes_on(recorded, &defined))?;
        if word.replace.contains(&name) && is_replaceable(recorded, &defined) {
            return None;
        }
        Some(DefinitionConflict::new(&app.name, place, &name, recorded, &defined))
    };
    fixed.into_iter().filter_map(conflict).collect()
}

/// What came of preparing an app's topics.
pub(crate) enum Prepared {
    /// They are there and as they must be.
    Ready(Survey),
    /// Something stands in the way.
    Refused(Plan),
}

/// How far preparing may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// A start: makes what is missing.
    Create,
    /// An operator's word: alters, too.
    Alter,
}

/// Makes an app's topics what they must be, as far as `reach` goes.
///
/// # Errors
///
/// What the log refuses.
pub(crate) async fn prepare(
    log: &dyn Log,
    clock: &dyn Clock,
    app: &App,
    place: &Place,
    (reach, word): (Reach, &Word),
) -> Result<Prepared, LogError> {
    let deadline = Instant::now() + MAKING_TIME_MAX;
    loop {
        match prepare_once(log, clock, app, place, (reach, word)).await {
            Ok(Some(prepared)) => return Ok(prepared),
            Err(error) if error.kind() != LogErrorKind::Unavailable => return Err(error),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Ok(None) if Instant::now() >= deadline => {
                let message =
                    format!("the topics of app {} change while they are being made: try again", app.name);
                return Err(LogError::new(LogErrorKind::Unavailable, message));
            }
            Ok(None) | Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// One plan, carried out; `None` if topics appeared meanwhile.
async fn prepare_once(
    log: &dyn Log,
    clock: &dyn Clock,
    app: &App,
    place: &Place,
    (reach, word): (Reach, &Word),
) -> Result<Option<Prepared>, LogError> {
    let mut survey = Survey::of(log, app, place, word).await?;
    let refused = match reach {
        Reach::Create => survey.plan.refuses(),
        Reach::Alter => survey.plan.is_stuck(),
    };
    if refused {
        return Ok(Some(Prepared::Refused(survey.plan)));
    }
    if survey.carry_out(log, reach == Reach::Alter).await? {
        return Ok(None);
    }
    if reach == Reach::Alter {
        survey.go_on_without(log, app).await?;
    }
    survey.record(log, app, clock).await?;
    // Whoever stated something else at the same moment and came first is right.
    let conflicts = conflicts(app, place, &survey.registry, &Word::default());
    if conflicts.is_empty() {
        return Ok(Some(Prepared::Ready(survey)));
    }
    Ok(Some(Prepared::Refused(Plan { conflicts, ..survey.plan })))
}
