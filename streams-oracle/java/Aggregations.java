import java.util.List;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.CogroupedKStream;
import org.apache.kafka.streams.kstream.KGroupedTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.SessionWindows;
import org.apache.kafka.streams.kstream.SlidingWindows;
import org.apache.kafka.streams.kstream.TimeWindows;

/** Grouping, and what is kept of a group. Values are joined to traces, so that the order of calls can be seen. */
final class Aggregations {
    static List<Case> cases() {
        return List.of(
            Case.of("count", "How many values each key has.",
                b -> Case.out(Case.stream(b, "input").groupByKey().count(Materialized.as("store"))),
                Case.words("input")),
            Case.of("count-by_letter", "How many values begin with each letter; without a letter a value is dropped.",
                b -> Case.out(Case.stream(b, "input").groupBy((key, value) -> Case.initial(value))
                    .count(Materialized.as("store"))),
                Case.words("input")),
            Case.of("reduce", "All values of a key, one after the other.",
                b -> Case.out(Case.stream(b, "input").groupByKey()
                    .reduce((all, value) -> all + value, Materialized.as("store"))),
                Case.words("input")),
            Case.of("aggregate", "All values of a key after a colon.",
                b -> Case.out(Case.stream(b, "input").groupByKey()
                    .aggregate(() -> ":", (key, value, all) -> all + value, Materialized.as("store"))),
                Case.words("input")),
            Case.of("aggregate-to_null", "As aggregate, but a value with a b deletes what there is.",
                b -> Case.out(Case.stream(b, "input").groupByKey().aggregate(
                    () -> ":", (key, value, all) -> value.contains("b") ? null : all + value,
                    Materialized.as("store"))),
                Case.words("input")),
            Case.of("aggregate-sum", "The sum of each key's numbers.",
                b -> Case.out(b.<String, Long>stream("input").groupByKey().aggregate(
                    () -> 0L, (key, value, sum) -> sum + value, Materialized.as("store"))),
                new Case.Source("input", Case.NUMBERS)),
            Case.of("table-count", "How many rows begin with each letter.",
                b -> Case.out(byLetter(b).count(Materialized.as("store"))), Case.rows("input")),
            Case.of("table-reduce", "What was added to and subtracted from each letter's rows.",
                b -> Case.out(byLetter(b).reduce(
                    (all, value) -> all + "+" + value, (all, value) -> all + "-" + value, Materialized.as("store"))),
                Case.rows("input")),
            Case.of("table-aggregate", "As table-reduce, from a colon on.",
                b -> Case.out(byLetter(b).aggregate(
                    () -> ":", (key, value, all) -> all + "+" + value, (key, value, all) -> all + "-" + value,
                    Materialized.as("store"))),
                Case.rows("input")),
            Case.of("table-sum", "The total length of the keys under each value.",
                b -> Case.out(Case.table(b, "input")
                    .groupBy((key, value) -> KeyValue.pair(value, (long) key.length()))
                    .aggregate(() -> 0L, (key, length, sum) -> sum + length, (key, length, sum) -> sum - length,
                        Materialized.as("store"))),
                Case.rows("input")),
            Case.of("cogroup", "Two streams into one aggregate.",
                b -> Case.out(cogrouped(b).aggregate(() -> ":", Materialized.as("store"))),
                Case.words("left"), Case.words("right")),
            Case.of("cogroup-tumbling", "Two streams into one aggregate per window of 5 ms, without grace.",
                b -> Case.out(cogrouped(b).windowedBy(TimeWindows.ofSizeWithNoGrace(Case.ms(5)))
                    .aggregate(() -> ":", Windows.kept())),
                Case.words("left"), Case.words("right")),
            Case.of("cogroup-sliding", "Two streams into one aggregate per sliding window of 5 ms, grace 4 ms.",
                b -> Case.out(cogrouped(b)
                    .windowedBy(SlidingWindows.ofTimeDifferenceAndGrace(Case.ms(5), Case.ms(4)))
                    .aggregate(() -> ":", Windows.kept())),
                Case.words("left"), Case.words("right")),
            Case.of("cogroup-session", "Two streams into one aggregate per session with gaps of 5 ms, grace 4 ms.",
                b -> Case.out(cogrouped(b)
                    .windowedBy(SessionWindows.ofInactivityGapAndGrace(Case.ms(5), Case.ms(4)))
                    .aggregate(() -> "", Windows::merged, Windows.kept())),
                Case.words("left"), Case.words("right")));
    }

    private static KGroupedTable<String, String> byLetter(StreamsBuilder builder) {
        return Case.table(builder, "input").groupBy((key, value) -> KeyValue.pair(Case.initial(value), value));
    }

    private static CogroupedKStream<String, String> cogrouped(StreamsBuilder builder) {
        return Case.stream(builder, "left").groupByKey()
            .<String>cogroup((key, value, all) -> all + "l" + value)
            .cogroup(Case.stream(builder, "right").groupByKey(), (key, value, all) -> all + "r" + value);
    }

    private Aggregations() {}
}
