//! Threads that run soon after they wake: one of the two modules with `unsafe`, which a call to the system needs.
//!
//! A service's cores are shared by threads that somebody waits for, each for some tens of microseconds at a time, and by
//! threads that work for milliseconds at a stretch, as views do. The system's scheduler treats them alike, so that the
//! former wait for the latter. Linux since 6.12 lets an ordinary thread ask for shorter turns (the slice of an EEVDF
//! request, `sched_attr.sched_runtime`): its share of the cores stays the same, but it takes one from a thread with longer
//! turns as soon as it wakes.
#![allow(unsafe_code)]

/// The turns that are asked for; the scheduler's shortest is a tenth of a millisecond, its usual one some milliseconds.
#[cfg(target_os = "linux")]
const TURN_NANOS: u64 = 100_000;

/// Asks the system to run the calling thread soon whenever it has become ready, in short turns.
///
/// For threads that answer somebody and never work for long: those of an HTTP server, for example. The thread's share of
/// the cores, its priority and its policy stay as they are, and no right is needed. Threads that it starts inherit it.
/// Where the system cannot do that, as other systems and Linux before 6.12, or will not, nothing changes.
///
/// ```
/// let server = tokio::runtime::Builder::new_multi_thread()
///     .on_thread_start(headwater::scheduling::wake_promptly)
///     .build()?;
/// # drop(server); Ok::<(), std::io::Error>(())
/// ```
pub fn wake_promptly() {
    #[cfg(target_os = "linux")]
    if let Some(mut attributes) = attributes()
        && let Ok(libc::SCHED_OTHER | libc::SCHED_BATCH) = attributes.sched_policy.try_into()
    {
        attributes.sched_runtime = TURN_NANOS;
        ask_for(&attributes);
    }
}

/// How the calling thread is scheduled.
#[cfg(target_os = "linux")]
fn attributes() -> Option<libc::sched_attr> {
    let mut attributes = std::mem::MaybeUninit::<libc::sched_attr>::zeroed();
    let size = size_of::<libc::sched_attr>();
    // SAFETY: the system writes at most `size` bytes, which are there; and any bytes are numbers.
    let attributes = unsafe {
        let answer = libc::syscall(libc::SYS_sched_getattr, 0, attributes.as_mut_ptr(), size, 0);
        (answer == 0).then(|| attributes.assume_init())
    };
    attributes.map(|attributes| libc::sched_attr { size: size as u32, ..attributes })
}

#[cfg(target_os = "linux")]
fn ask_for(attributes: &libc::sched_attr) {
    // SAFETY: the system reads as many bytes as the value says that it has.
    let _refused = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, attributes, 0) };
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_asks_for_short_turns_keeps_its_policy_and_priority() {
        let before = attributes().expect("a thread may ask how it is scheduled");
        wake_promptly();
        let after = attributes().expect("a thread may ask how it is scheduled");
        assert_eq!(after.sched_policy, before.sched_policy);
        assert_eq!((after.sched_nice, after.sched_priority), (before.sched_nice, before.sched_priority));
        // Systems before 6.12 tell none.
        assert!([0, TURN_NANOS].contains(&after.sched_runtime), "{}", after.sched_runtime);
    }
}
