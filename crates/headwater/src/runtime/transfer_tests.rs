//! Copies of a shard that several ask for at once.

use std::sync::mpsc;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_is_copied_for_one_at_a_time_also_when_the_first_does_not_wait_any_more() {
    let copies = Arc::new(Copies::default());
    let ((begins, begun), (enters, entered)) = (mpsc::channel(), mpsc::channel());
    let first = tokio::spawn({
        let copies = copies.clone();
        async move {
            let work = move |aside: &mut Aside| {
                let copy = aside.begin(Timestamp(7));
                begins.send(()).expect("the test waits for it");
                // Whoever is let in meanwhile is found out; nobody is, so that it takes as long as this.
                let alone = entered.recv_timeout(Duration::from_millis(200)).is_err();
                aside.is_there = true;
                Ok((copy, alone))
            };
            copies.alone("items", Partition(1), work).await
        }
    });
    tokio::task::block_in_place(|| begun.recv()).expect("the first begins");
    // Another shard's copy is nobody's concern.
    let other = copies.alone("items", Partition(0), |aside| Ok(aside.begin(Timestamp(7)))).await;
    assert_eq!(other.unwrap(), 7);
    first.abort();
    let second = copies.alone("items", Partition(1), move |aside| {
        let _ = enters.send(());
        Ok((aside.has(7), aside.begin(Timestamp(7))))
    });
    assert_eq!(second.await.unwrap(), (true, 8), "the first had ended, and its copy is another one");
}
