//! A link: a code, the terms that it was given to, and whether it still leads anywhere.
//!
//! A code is given to one link for good. What has expired, is exhausted or was deleted keeps its code, so that a printed
//! address never leads somewhere else; the same terms again bring a deleted link back.
//!
//! A visit to a limited link is a command, so that no visit too many is answered however many come at once. Others are
//! no concern of the link.

use std::num::NonZeroU64;

use headwater::core::clock::Timestamp;
use headwater::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Address, Visit};

/// What a link is made of: what it leads to, and for how long. Links of the same terms are the same link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Terms {
    /// Where it leads.
    pub url: Address,
    /// From when on it leads nowhere, in milliseconds since 1970 in UTC; never, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>")]
    pub valid_until: Option<Timestamp>,
    /// How many visits it has; any number, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_visits: Option<NonZeroU64>,
}

/// A link's state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// Its terms; `None` if the code was never given.
    pub terms: Option<Terms>,
    /// When it was made.
    pub at: Timestamp,
    /// Visits that were answered, counted for limited links only.
    #[serde(default)]
    pub used: u64,
    /// Whether it was deleted.
    #[serde(default)]
    pub deleted: bool,
}

/// What can be asked of a link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum LinkCommand {
    /// Give the code to a link of these terms.
    Shorten(Terms),
    /// Answer one visit.
    Visit(Visit),
    /// Lead nowhere from now on.
    Delete,
}

/// What happened to a link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum LinkEvent {
    /// The code was given to a link.
    Shortened {
        /// The link's terms.
        terms: Terms,
        /// When, in milliseconds since 1970 in UTC.
        #[schemars(with = "i64")]
        at: Timestamp,
    },
    /// One of a limited link's visits was answered.
    Visited(Visit),
    /// It was deleted.
    Deleted,
}

/// Why something is refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum LinkRejection {
    /// The code is that of a link to another address.
    Taken,
    /// The code is that of a link to this address: of other terms, or over for this reason.
    SameAddress(Option<Over>),
    /// The link leads nowhere, or would not.
    Over(Over),
}

/// Why a link leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Over {
    /// There is none.
    Unknown,
    /// Its time is over.
    Expired,
    /// It had all its visits.
    Exhausted,
    /// It was deleted.
    Deleted,
}

impl Terms {
    /// Whether its time is over.
    pub fn expired(&self, now: Timestamp) -> bool {
        self.valid_until.is_some_and(|end| end <= now)
    }
}

impl Link {
    /// Why it leads nowhere now; `None` as long as it redirects.
    pub fn over(&self, now: Timestamp) -> Option<Over> {
        match &self.terms {
            None => Some(Over::Unknown),
            Some(_) if self.deleted => Some(Over::Deleted),
            Some(terms) if terms.expired(now) => Some(Over::Expired),
            Some(_) if self.exhausted() => Some(Over::Exhausted),
            Some(_) => None,
        }
    }

    /// How many visits are left, if they are limited.
    pub fn visits_left(&self) -> Option<u64> {
        let max = self.terms.as_ref()?.max_visits?;
        Some(max.get().saturating_sub(self.used))
    }

    fn exhausted(&self) -> bool {
        self.visits_left() == Some(0)
    }
}

impl Aggregate for Link {
    const NAME: &'static str = "link";
    type Id = super::Code;
    type Command = LinkCommand;
    type Event = LinkEvent;
    type Rejection = LinkRejection;

    fn decide(&self, command: LinkCommand, context: &Context) -> Result<Vec<LinkEvent>, LinkRejection> {
        let now = context.time();
        match command {
            LinkCommand::Shorten(terms) if terms.expired(now) => Err(LinkRejection::Over(Over::Expired)),
            LinkCommand::Shorten(terms) => match &self.terms {
                Some(own) if own.url != terms.url => Err(LinkRejection::Taken),
                Some(own) if *own != terms => Err(LinkRejection::SameAddress(self.over(now))),
                Some(_) if self.exhausted() => Err(LinkRejection::SameAddress(Some(Over::Exhausted))),
                Some(_) if !self.deleted => Ok(vec![]),
                _ => Ok(vec![LinkEvent::Shortened { terms, at: now }]),
            },
            LinkCommand::Visit(visit) => match self.over(now) {
                None => Ok(vec![LinkEvent::Visited(visit)]),
                Some(over) => Err(LinkRejection::Over(over)),
            },
            LinkCommand::Delete => match (&self.terms, self.deleted) {
                (None, _) => Err(LinkRejection::Over(Over::Unknown)),
                (Some(_), true) => Ok(vec![]),
                (Some(_), false) => Ok(vec![LinkEvent::Deleted]),
            },
        }
    }

    fn evolve(&mut self, event: &LinkEvent) {
        match event {
            LinkEvent::Shortened { terms, at } => {
                self.terms = Some(terms.clone());
                self.at = *at;
                self.deleted = false;
            }
            LinkEvent::Visited(_) => self.used += 1,
            LinkEvent::Deleted => self.deleted = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use headwater::testing::given;

    use super::LinkCommand::{Delete, Shorten, Visit as Answer};
    use super::LinkEvent::{Deleted, Visited};
    use super::LinkRejection::{SameAddress, Taken};
    use super::*;

    const NOW: Timestamp = Timestamp(1_000);

    fn terms(url: &str) -> Terms {
        Terms { url: Address::parse(url).unwrap(), valid_until: None, max_visits: None }
    }

    fn plain() -> Terms {
        terms("https://example.com/")
    }

    fn limited(visits: u64) -> Terms {
        Terms { max_visits: NonZeroU64::new(visits), ..plain() }
    }

    fn until(ms: i64) -> Terms {
        Terms { valid_until: Some(Timestamp(ms)), ..plain() }
    }

    fn shortened(terms: Terms) -> LinkEvent {
        LinkEvent::Shortened { terms, at: NOW }
    }

    fn visited() -> LinkEvent {
        Visited(Visit::default())
    }

    #[test]
    fn a_code_is_given_once() {
        let shorten = |before: Vec<LinkEvent>, terms| given::<Link>(before).at(NOW).when(Shorten(terms));
        shorten(vec![], plain()).accepted([shortened(plain())]);
        shorten(vec![shortened(plain())], plain()).accepted([]);
        let other = terms("https://example.com");
        shorten(vec![shortened(plain())], other.clone()).rejected(Taken);
        shorten(vec![shortened(plain()), Deleted], other).rejected(Taken);
    }

    #[test]
    fn who_asks_for_the_code_of_the_same_address_is_told_how_its_link_is() {
        let cases = [
            (vec![shortened(plain())], limited(3), None),
            (vec![shortened(plain())], until(2_000), None),
            (vec![shortened(until(999))], plain(), Some(Over::Expired)),
            (vec![shortened(plain()), Deleted], limited(3), Some(Over::Deleted)),
            (vec![shortened(limited(1)), visited()], plain(), Some(Over::Exhausted)),
            (vec![shortened(limited(1)), visited()], limited(1), Some(Over::Exhausted)),
            (vec![shortened(limited(1)), visited(), Deleted], limited(1), Some(Over::Exhausted)),
        ];
        for (before, terms, over) in cases {
            given::<Link>(before).at(NOW).when(Shorten(terms)).rejected(SameAddress(over));
        }
    }

    #[test]
    fn a_deleted_link_comes_back_with_what_it_had_used() {
        let before = [shortened(limited(2)), visited(), Deleted];
        given::<Link>(before.clone()).at(NOW).when(Shorten(limited(2))).accepted([shortened(limited(2))]);
        let back = before.into_iter().chain([shortened(limited(2)), visited()]);
        given::<Link>(back)
            .at(NOW)
            .when(Answer(Visit::default()))
            .rejected(LinkRejection::Over(Over::Exhausted));
    }

    #[test]
    fn a_link_that_would_be_over_is_not_made() {
        given::<Link>([]).at(NOW).when(Shorten(until(1_000))).rejected(LinkRejection::Over(Over::Expired));
        given::<Link>([]).at(NOW).when(Shorten(until(1_001))).accepted([shortened(until(1_001))]);
    }

    #[test]
    fn visits_are_answered_as_long_as_the_link_stands() {
        let visit = |before: Vec<LinkEvent>| given::<Link>(before).at(NOW).when(Answer(Visit::default()));
        visit(vec![shortened(plain())]).accepted([visited()]);
        visit(vec![shortened(limited(2)), visited()]).accepted([visited()]);
        let cases = [
            (vec![], Over::Unknown),
            (vec![shortened(until(1_000))], Over::Expired),
            (vec![shortened(limited(2)), visited(), visited()], Over::Exhausted),
            (vec![shortened(plain()), Deleted], Over::Deleted),
        ];
        for (before, over) in cases {
            visit(before).rejected(LinkRejection::Over(over));
        }
    }

    #[test]
    fn a_link_is_deleted_once() {
        given::<Link>([]).when(Delete).rejected(LinkRejection::Over(Over::Unknown));
        given::<Link>([shortened(plain())]).when(Delete).accepted([Deleted]);
        given::<Link>([shortened(plain()), Deleted]).when(Delete).accepted([]);
    }
}
