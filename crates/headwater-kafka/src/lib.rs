//! Headwater's log on an Apache Kafka cluster: topics, heads, fenced writers and shared shards, behind the log contract.
