//! The app as this process runs it.

use std::sync::Arc;
use std::time::Duration;

use headwater::core::clock::{Clock, SystemClock};
use headwater::prelude::*;
use headwater::{Description, Parts, StartError, Windowed};

use crate::domain::{Code, Link, Referrer, Visit};
use crate::topology::{Shortener, shortener};

/// A running app with the handles to ask it. Cheap to clone.
#[derive(Clone)]
pub struct Instance {
    /// What runs.
    pub running: Running,
    /// Which parts of it run here.
    pub parts: Parts,
    /// Where links are made.
    pub links: Aggregates<Link>,
    /// Where visits are published.
    pub visits: Topic<Code, Visit>,
    /// Every link by its code, to be listed.
    pub listed: View<Code, Link>,
    /// How often each link was visited.
    pub total: View<Code, u64>,
    /// The same by the day.
    pub daily: View<Windowed<Code>, u64>,
    /// The same by the hour.
    pub hourly: View<Windowed<Code>, u64>,
    /// The same by where visitors came from.
    pub referrers: View<(Code, Referrer), u64>,
    /// What the app is made of.
    pub description: Arc<Description>,
    /// Tells whether a link has expired.
    pub clock: Arc<dyn Clock>,
}

impl Instance {
    /// Starts the parts of the app that this instance is to run.
    ///
    /// # Errors
    ///
    /// As [`Headwater::start_parts`].
    pub async fn start(headwater: &Headwater, parts: Parts) -> Result<Self, StartError> {
        let Shortener { app, links, visits, listed, total, daily, hourly, referrers } = shortener();
        let description = Arc::new(app.describe());
        let running = headwater.start_parts(app, parts).await?;
        let clock = Arc::new(SystemClock);
        Ok(Self {
            running,
            parts,
            links,
            visits,
            listed,
            total,
            daily,
            hourly,
            referrers,
            description,
            clock,
        })
    }

    /// Finishes and commits what is in flight; answers whether that was done in time.
    pub async fn stop(&self, within: Duration) -> bool {
        self.running.stop(within).await
    }
}
