//! Sessions and sliding windows by the times that they hold, and windows of all keys by when they begin.

use headwater::core::clock::Timestamp;
use headwater::{Receipt, Windowed};

use super::*;

type Counts = View<Windowed<String>, u64>;
type Rows = Vec<(Windowed<String>, u64)>;

const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Clicks counted in sessions, in sliding and in hopping windows.
fn counts() -> (App, [Counts; 3]) {
    let mut app = App::new("web").with(|options| options.partitions = 3);
    let clicks = app.stream::<String, u64>("clicks").group_by_key();
    let grace = ms(10_000);
    let sessions = clicks.window(Session::gap(ms(15)).grace(grace)).count(Store::named("sessions"));
    let sliding = clicks.window(Sliding::of(ms(20)).grace(grace)).count(Store::named("sliding").timed());
    let hopping = clicks.window(Hopping::of(ms(30), ms(10)).grace(grace)).count(Store::named("hopping"));
    let views = [sessions, sliding, hopping].map(|table| app.view(table));
    (app, views)
}

async fn publish(running: &Running) -> Vec<Receipt> {
    let clicks: Topic<String, u64> = "clicks".into();
    let mut receipts = Vec::new();
    for n in 0..100_u64 {
        let (key, time) = (s(KEYS[(n * n % 5) as usize]), Timestamp((n * 331 % 700) as i64));
        receipts.push(running.publish(&clicks, &key, &1).at(time).await.unwrap());
    }
    receipts
}

/// Asks for parts of what all windows are.
async fn check(running: &Running, receipts: &[Receipt]) {
    let (_, views) = counts();
    for view in &views {
        let ask = || running.view(view).unwrap().within(WITHIN);
        for receipt in receipts {
            ask().after(receipt).scan(1, None).await.unwrap();
        }
        let mut all = Rows::new();
        for key in KEYS {
            all.extend(ask().windows(&s(key), ..).await.unwrap().value);
        }
        assert!(all.len() > 20, "{}", all.len());
        for (from, to) in [(i64::MIN, i64::MAX), (0, 0), (100, 140), (300, 299), (650, 2_000), (-90, -50)] {
            let times = Timestamp(from)..=Timestamp(to);
            let begin_within = |(window, _): &(Windowed<String>, u64)| times.contains(&window.start);
            let expected: Rows = all.iter().filter(|row| begin_within(row)).cloned().collect();
            assert_eq!(paged(&ask(), &times).await, expected, "{} from {from} to {to}", view.name());
            for key in KEYS {
                let rows = ask().overlapping(&s(key), times.clone()).await.unwrap();
                assert!(!rows.position.is_empty());
                let overlaps = |(window, _): &(Windowed<String>, u64)| {
                    window.key == key && window.start.0 <= to && window.end.0 >= from && from <= to
                };
                let expected: Rows = all.iter().filter(|row| overlaps(row)).cloned().collect();
                assert_eq!(rows.value, expected, "{} of {key} from {from} to {to}", view.name());
            }
        }
    }
}

async fn paged(
    query: &headwater::ViewQuery<Windowed<String>, u64>,
    times: &std::ops::RangeInclusive<Timestamp>,
) -> Rows {
    let (mut rows, mut token) = (Rows::new(), None);
    loop {
        let page = query.scan_windows(times.clone(), 7, token.as_ref()).await.unwrap().value;
        rows.extend(page.rows);
        token = page.next;
        if token.is_none() {
            return rows;
        }
    }
}

#[tokio::test]
async fn any_instance_tells_windows_by_their_times() {
    let log = memory_log();
    let (board, instances) = two([Arc::new(log.clone()), Arc::new(log)], || counts().0).await;
    let receipts = publish(&instances[0]).await;
    for running in &instances {
        check(running, &receipts).await;
    }
    for name in ["first", "second"] {
        assert!(board.served(&PeerAddress::new(name)) > 0, "{name} was asked");
    }
    stop(instances).await;
}

#[tokio::test]
async fn an_embedded_log_tells_windows_by_their_times_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut receipts = Vec::new();
    for life in 0..2 {
        let running = started(&embedded(dir.path()), counts().0).await;
        if life == 0 {
            receipts = publish(&running).await;
        }
        check(&running, &receipts).await;
        stop([running]).await;
    }
}

#[tokio::test]
async fn windows_are_not_asked_for_as_of_a_time() {
    let running =
        started(&Headwater::on(Arc::new(memory_log()), Arc::new(MemoryStores::new())), counts().0).await;
    let (_, [sessions, ..]) = counts();
    let past = running.view(&sessions).unwrap().as_of(Timestamp(0));
    let asked = [
        past.overlapping(&s("a"), ..).await.map(|_| ()),
        past.scan_windows(.., 1, None).await.map(|_| ()),
        past.windows(&s("a"), ..).await.map(|_| ()),
    ];
    for answer in asked {
        assert!(matches!(answer, Err(QueryError::NoHistory { .. })), "{answer:?}");
    }
    stop([running]).await;
}

/// Windows of one topic, and of two, where the view is folded from what another topology has made of them.
#[tokio::test]
async fn windows_expire_in_every_view() {
    let mut app = App::new("web").with(|options| options.partitions = 1);
    let (clicks, taps) = (app.stream::<String, u64>("clicks"), app.stream::<String, u64>("taps"));
    let both = clicks.merge(&taps).group_by_key();
    let retained = |name: &str| Store::named(name).retain(ms(50));
    let views = [
        app.view(clicks.group_by_key().window(Tumbling::of(ms(10))).count(retained("of-one"))),
        app.view(both.window(Tumbling::of(ms(10))).count(retained("tumbling"))),
        app.view(both.window(Session::gap(ms(3))).count(retained("sessions"))),
        app.view(both.window(Sliding::of(ms(3))).count(retained("sliding"))),
    ];
    let running = started(&Headwater::on(Arc::new(memory_log()), Arc::new(MemoryStores::new())), app).await;
    let clicks: Topic<String, u64> = "clicks".into();
    let mut receipt = None;
    for n in 0..100 {
        receipt = Some(running.publish(&clicks, &s("k"), &1).at(Timestamp(n * 10)).await.unwrap());
    }
    for view in &views {
        let query = running.view(view).unwrap().after(receipt.as_ref().unwrap()).within(WITHIN);
        let starts: Vec<_> = query.windows(&s("k"), ..).await.unwrap().value;
        let starts: Vec<_> = starts.into_iter().map(|(window, _)| window.start.0).collect();
        assert!((5..10).contains(&starts.len()), "{}: {starts:?}", view.name());
        assert!(starts[0] >= 920 && *starts.last().unwrap() >= 987, "{}: {starts:?}", view.name());
    }
    stop([running]).await;
}
