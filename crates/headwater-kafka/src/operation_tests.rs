use headwater_core::log::LogErrorKind;
use krafka::KrafkaError;

use super::*;
use crate::errors::failed_to;

const SHARD: ShardOf<'_> = ShardOf { group: "shop.orders", shard: Partition(7) };

/// An operation in words, and its right where the cluster denies topics, groups, transactional ids and itself.
type Row<'a> = (Operation<'a>, &'a str, [Option<&'a str>; 4]);

const DENIALS: [ErrorCode; 4] = [
    ErrorCode::TopicAuthorizationFailed,
    ErrorCode::GroupAuthorizationFailed,
    ErrorCode::TransactionalIdAuthorizationFailed,
    ErrorCode::ClusterAuthorizationFailed,
];

#[test]
fn each_operation_has_its_words_and_its_rights() {
    use Operation::*;
    let (orders, both) = (TopicName::new("orders").expect("a name"), ["orders".into(), "items".into()]);
    let at = orders.partition(3);
    let producer = Some("Write on the topic, or IdempotentWrite on the cluster");
    let appends = Some("Write and Describe on transactional ids headwater-append.*");
    let shard = Some("Write and Describe on transactional ids shop.orders.*");
    let describe_group = [None, Some("Describe on group shop.orders"), None, None];
    let read_group = [None, Some("Read on group shop.orders"), None, None];
    let describe_topic = [Some("Describe on the topic of orders-3"), None, None, None];
    let rows: [Row<'_>; 18] = [
        (ListTopics, "list the topics", [None; 4]),
        (
            DescribeTopics(&both[..1]),
            "describe orders",
            [Some("Describe and DescribeConfigs on topic orders"), None, None, None],
        ),
        (
            DescribeTopics(&both),
            "describe orders, items",
            [Some("Describe and DescribeConfigs on topics orders, items"), None, None, None],
        ),
        (
            CreateTopic(&orders),
            "create the topic orders",
            [Some("Create on topic orders"), None, None, Some("Create on the cluster")],
        ),
        (
            AlterTopic(&orders),
            "alter the topic orders",
            [Some("AlterConfigs on topic orders"), None, None, Some("Alter on the cluster, to add replicas")],
        ),
        (DeleteTopic(&orders), "delete the topic orders", [Some("Delete on topic orders"), None, None, None]),
        (
            Append(&at),
            "append to orders-3",
            [Some("Write on the topic of orders-3"), None, appends, producer],
        ),
        (
            AppendTogether { records: 2, first: &at },
            "append 2 records to orders-3 and beside",
            [Some("Write on every topic that it appends to"), None, appends, producer],
        ),
        (FindBounds(&at), "ask for the bounds of orders-3", describe_topic),
        (FindTime(&at), "find a time in orders-3", describe_topic),
        (FindEpochEnd { epoch: 5, at: &at }, "ask where leader epoch 5 ends in orders-3", describe_topic),
        (FindPositions("shop.orders"), "ask for the positions of shop.orders", describe_group),
        (
            TellPositions("shop.orders"),
            "tell how far shop.orders has come",
            [Some("Read on every topic that it reads"), Some("Read on group shop.orders"), None, None],
        ),
        (BeMember("shop.orders"), "be a member of the group shop.orders", read_group),
        (LeaveGroup("shop.orders"), "leave the group shop.orders", read_group),
        (FindHolder(SHARD), "ask who has shard 7 of shop.orders", describe_group),
        (OpenWriter(SHARD), "open the writer of shard 7 of shop.orders", [None, None, shard, None]),
        (
            Commit(SHARD),
            "commit for shard 7 of shop.orders",
            [
                Some("Write on every topic that it appends to, and Read on those it reads"),
                Some("Read on group shop.orders"),
                shard,
                producer,
            ],
        ),
    ];
    for (operation, words, rights) in rows {
        assert_eq!(operation.to_string(), words);
        for (denial, right) in DENIALS.into_iter().zip(rights) {
            assert_eq!(operation.right(denial).as_deref(), right, "{operation}, {denial:?}");
        }
        assert_eq!(operation.right(ErrorCode::SaslAuthenticationFailed), None, "{operation}");
    }
}

#[test]
fn a_denial_tells_the_operation_and_the_right() {
    let told = |what: Operation<'_>, error: KrafkaError| {
        let error = failed_to(what, error);
        assert_eq!(error.kind(), LogErrorKind::Denied, "{error}");
        error.to_string()
    };
    let broker = |code| KrafkaError::Broker { code, message: String::new() };
    assert_eq!(
        told(Operation::TellPositions("shop"), broker(ErrorCode::GroupAuthorizationFailed)),
        "could not tell how far shop has come: the cluster denies it to this process's user; grant it Read on group \
         shop"
    );
    assert_eq!(
        told(Operation::ListTopics, broker(ErrorCode::TopicAuthorizationFailed)),
        "could not list the topics: the cluster refuses this process; check its credentials"
    );
}
