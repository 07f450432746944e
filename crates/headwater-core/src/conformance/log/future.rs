//! The few ways of driving futures that the suite needs, without a runtime.
//!
//! A future is polled again only when it asked for it. Polling it whenever something else moves would hide a lost
//! wake-up, which is what the suite is there to find.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// The future's answer, or `None` if the limit is over first.
pub(super) async fn race<T>(future: impl Future<Output = T>, limit: impl Future<Output = ()>) -> Option<T> {
    match first_of(future, limit).await {
        First::Left(answer) => Some(answer),
        First::Right(()) => None,
    }
}

/// Which of two futures was ready first, and its answer.
pub(super) enum First<L, R> {
    Left(L),
    Right(R),
}

/// The answer of whichever future is ready first; the left one if both are. The other is dropped.
pub(super) async fn first_of<L, R>(
    left: impl Future<Output = L>,
    right: impl Future<Output = R>,
) -> First<L, R> {
    let (left, right) = (pin!(left), pin!(right));
    let (mut left, mut right) = (OnDemand::new(left), OnDemand::new(right));
    poll_fn(|cx| match left.poll(cx) {
        Poll::Ready(answer) => Poll::Ready(First::Left(answer)),
        Poll::Pending => right.poll(cx).map(First::Right),
    })
    .await
}

/// The answers of all futures, in their order.
pub(super) async fn join_all<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.into_iter().map(|future| OnDemand::new(Box::pin(future))).collect();
    let mut answers: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    poll_fn(|cx| {
        for (future, answer) in futures.iter_mut().zip(&mut answers).filter(|(_, answer)| answer.is_none()) {
            if let Poll::Ready(ready) = future.poll(cx) {
                *answer = Some(ready);
            }
        }
        if answers.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    answers.into_iter().flatten().collect()
}

/// Polls a future up to so many times in a row; its answer if it has one by then.
pub(super) async fn poll_times<T>(future: &mut (impl Future<Output = T> + Unpin), times: usize) -> Option<T> {
    poll_fn(|cx| {
        let mut polls = (0..times).map(|_| Pin::new(&mut *future).poll(cx));
        Poll::Ready(polls.find_map(|poll| match poll {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        }))
    })
    .await
}

/// Lets everything else that is ready run once.
pub(super) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A future that is polled only when it was woken.
struct OnDemand<F> {
    future: F,
    demand: Arc<Demand>,
}

struct Demand {
    woken: AtomicBool,
    task: Mutex<Waker>,
}

impl<F: Future + Unpin> OnDemand<F> {
    fn new(future: F) -> Self {
        let demand = Demand { woken: AtomicBool::new(true), task: Mutex::new(Waker::noop().clone()) };
        Self { future, demand: Arc::new(demand) }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<F::Output> {
        // The task first, then the flag: a wake-up in between finds the new task.
        self.demand.task.lock().unwrap_or_else(PoisonError::into_inner).clone_from(cx.waker());
        if !self.demand.woken.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        let waker = Waker::from(self.demand.clone());
        Pin::new(&mut self.future).poll(&mut Context::from_waker(&waker))
    }
}

impl Wake for Demand {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
        task.wake();
    }
}
