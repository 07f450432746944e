//! The tools that a chaos run trusts, on a real broker: clients stay behind their proxy, and dumps show what was written.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::sync::Arc;
use std::time::Duration;

use headwater_chaos::history::Told;
use headwater_chaos::load::{Load, TopicSender};
use headwater_chaos::proxy::{Mode, Proxy};
use headwater_chaos::records;
use kafka_broker::{Broker, Listener, Setup, run};

const TOPIC: &str = "ordering.order.commands";

fn create(broker: &Broker) {
    let args = ["--bootstrap-server", &broker.bootstrap(), "--create", "--topic", TOPIC, "--partitions", "3"];
    run(broker.jars().tool("org.apache.kafka.tools.TopicCommand", &args), Duration::from_secs(60)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_java_program_sends_through_a_proxy_is_dumped_whole() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::listen().await.unwrap();
    let listener = Listener::Proxied(proxy.address().port());
    let broker = Setup::default().listener(listener).start().unwrap();
    proxy.to(broker.bootstrap_of(listener).parse().unwrap());
    create(&broker);

    let load = Load::new(vec![]);
    proxy.set(Mode::Slow(Duration::from_millis(1)));
    let sender = TopicSender::start(broker.jars(), &proxy.address().to_string(), load.clone()).unwrap();
    let sending = tokio::spawn({
        let load = Arc::clone(&load);
        async move { sender.send(&load, 7).await.unwrap() }
    });
    while load.history.count(Told::Appended) < 20 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    load.end();
    let sent = sending.await.unwrap();
    assert_eq!(load.history.count(Told::Appended), sent);
    assert!(
        proxy.struck() > sent as u64 / 100,
        "its frames went through the proxy, also after the bootstrap"
    );

    let keep = folder.path().join("dump.txt");
    let records = records::committed(broker.jars(), &broker.bootstrap(), &[TOPIC], &keep).unwrap();
    let commands = load.history.commands();
    for record in &records {
        let (id, value) = (record.header("hw_command_id").unwrap(), record.value.as_deref().unwrap());
        let command = commands.keys().find(|command| command.id() == id).unwrap();
        assert_eq!(
            (record.key_text(), value),
            (command.order.id.clone(), command.order.command().as_bytes())
        );
    }
    assert_eq!(records.len(), sent);

    let batches = records::batches(&broker, &[TOPIC], &folder.path().join("batches.txt")).unwrap();
    assert!(!batches.is_empty() && batches.iter().all(|batch| !batch.transactional && batch.producer >= 0));
}
