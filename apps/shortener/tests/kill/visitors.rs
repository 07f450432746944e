//! Visitors that follow links, each time from another page, and remember where they were led.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use app_testing::connection::{Address, Connection};

/// One request: the link, and the page that the visitor came from, which is that of no other request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Visit {
    pub(crate) code: String,
    pub(crate) referrer: String,
}

/// What was asked for, and the status that was answered; 0 where no answer came.
#[derive(Default)]
pub(crate) struct Visits(pub(crate) BTreeMap<Visit, u16>);

impl Visits {
    pub(crate) fn redirected(&self) -> impl Iterator<Item = &Visit> {
        self.0.iter().filter(|(_, status)| **status == 302).map(|(visit, _)| visit)
    }

    pub(crate) fn uncertain(&self) -> usize {
        self.0.values().filter(|status| **status == 0).count()
    }
}

impl FromIterator<Visits> for Visits {
    fn from_iter<I: IntoIterator<Item = Visits>>(visits: I) -> Self {
        Self(visits.into_iter().flat_map(|visits| visits.0).collect())
    }
}

/// Tells visitors that it is over when it is dropped, also when a start panics: they must not go on for ever.
pub(crate) struct Over<'a>(pub(crate) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Follows links, so many at most, until told that it is over.
pub(crate) fn visit(
    visitor: u64,
    codes: &[String],
    address: &Address,
    over: &AtomicBool,
    visits_max: u64,
) -> Visits {
    let mut visits = Visits::default();
    let mut connection = None;
    while !over.load(Ordering::SeqCst) && (visits.0.len() as u64) < visits_max {
        let Some(open) = connected(&mut connection, address) else { continue };
        let number = visits.0.len() as u64;
        let code = codes[(visitor + number) as usize % codes.len()].clone();
        let visit = Visit { code, referrer: format!("v{visitor}-{number}.example") };
        let status = follow(open, &visit);
        assert!(matches!(status, 0 | 302 | 410 | 503), "{visit:?} was answered {status}");
        if status == 503 {
            std::thread::sleep(Duration::from_millis(20));
        }
        if status == 0 {
            connection = None;
        }
        visits.0.insert(visit, status);
    }
    visits
}

fn connected<'a>(connection: &'a mut Option<Connection>, address: &Address) -> Option<&'a mut Connection> {
    if connection.is_none() {
        *connection = address.get().and_then(Connection::open);
        if connection.is_none() {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    connection.as_mut()
}

fn follow(connection: &mut Connection, Visit { code, referrer }: &Visit) -> u16 {
    let request = format!("GET /{code} HTTP/1.1\r\nhost: kill\r\nreferer: http://{referrer}/\r\n\r\n");
    connection.ask(&request).map_or(0, |(status, _)| status)
}
