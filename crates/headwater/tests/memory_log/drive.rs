//! Driving futures without a runtime and without time.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use headwater_core::BoxFuture;

/// Polls after which a future that is not ready is taken for one that never will be.
const POLLS_MAX: usize = 10_000_000;

/// Drives a future on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    for _ in 0..POLLS_MAX {
        if let Poll::Ready(answer) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return answer;
        }
    }
    panic!("the future is not ready after {POLLS_MAX} polls");
}

/// Polls a future once.
pub(crate) fn poll_once<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

/// Is ready after so many polls, and asks for each.
pub(crate) fn turns(count: usize) -> BoxFuture<'static, ()> {
    let mut left = count;
    Box::pin(poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    }))
}
