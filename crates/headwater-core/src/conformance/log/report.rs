//! What a run of the suite found.

use std::fmt;

/// What a run found, rule by rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// One finding per rule, in the order in which they ran.
    pub findings: Vec<Finding>,
}

/// What was found about one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule's name.
    pub rule: &'static str,
    /// How it went.
    pub outcome: Outcome,
}

/// How a rule went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The log kept it.
    Kept,
    /// The harness could not do what the rule needs.
    Skipped(&'static str),
    /// The log broke it, in this way.
    Broken(String),
}

impl Report {
    /// The rules that were broken.
    pub fn broken(&self) -> Vec<&'static str> {
        let broken = |finding: &&Finding| matches!(finding.outcome, Outcome::Broken(_));
        self.findings.iter().filter(broken).map(|finding| finding.rule).collect()
    }

    /// The rules that were skipped.
    pub fn skipped(&self) -> Vec<&'static str> {
        let skipped = |finding: &&Finding| matches!(finding.outcome, Outcome::Skipped(_));
        self.findings.iter().filter(skipped).map(|finding| finding.rule).collect()
    }

    /// Demands that every rule was kept, but for those that may be skipped.
    ///
    /// # Panics
    ///
    /// If a rule was broken, or skipped and not named in `may_skip`; the message lists them all.
    #[track_caller]
    pub fn assert_kept(&self, may_skip: &[&str]) {
        let fails = |finding: &&Finding| match finding.outcome {
            Outcome::Kept => false,
            Outcome::Skipped(_) => !may_skip.contains(&finding.rule),
            Outcome::Broken(_) => true,
        };
        let failed: Vec<String> = self.findings.iter().filter(fails).map(Finding::to_string).collect();
        assert!(failed.is_empty(), "the log does not keep its contract:\n{}", failed.join("\n"));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.findings.iter().try_for_each(|finding| writeln!(f, "{finding}"))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Outcome::Kept => write!(f, "kept     {}", self.rule),
            Outcome::Skipped(reason) => write!(f, "skipped  {}: {reason}", self.rule),
            Outcome::Broken(how) => write!(f, "BROKEN   {}: {how}", self.rule),
        }
    }
}
