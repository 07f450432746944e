import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Branched;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Named;
import org.apache.kafka.streams.kstream.Repartitioned;

/** Operators that keep nothing, and tables as they are read. */
final class Stateless {
    static List<Case> cases() {
        List<Case> cases = new ArrayList<>(streams());
        cases.addAll(routes());
        cases.addAll(tables());
        return cases;
    }

    private static List<Case> streams() {
        return List.of(
            Case.of("filter", "Keeps the values that have an a.",
                b -> Case.out(Case.stream(b, "input").filter((key, value) -> hasA(value))), Case.words("input")),
            Case.of("filter_not", "Drops the values that have an a.",
                b -> Case.out(Case.stream(b, "input").filterNot((key, value) -> hasA(value))), Case.words("input")),
            Case.of("map", "Swaps key and value.",
                b -> Case.out(Case.stream(b, "input").map((key, value) -> KeyValue.pair(value, key))),
                Case.words("input")),
            Case.of("map_values", "Capital letters; null stays null.",
                b -> Case.out(Case.stream(b, "input").mapValues(Stateless::capitals)), Case.words("input")),
            Case.of("map_values_with_key", "Key and value, with a slash between.",
                b -> Case.out(Case.stream(b, "input").mapValues((key, value) -> key + "/" + value)),
                Case.words("input")),
            Case.of("flat_map", "A record for each letter: the letter is the key, the old key the value.",
                b -> Case.out(Case.stream(b, "input").flatMap((key, value) ->
                    letters(value).stream().map(letter -> KeyValue.pair(letter, key)).toList())),
                Case.words("input")),
            Case.of("flat_map_values", "A record for each letter, under the old key.",
                b -> Case.out(Case.stream(b, "input").flatMapValues(value -> letters(value))), Case.words("input")),
            Case.of("peek", "Looks at everything, changes nothing.",
                b -> Case.out(Case.stream(b, "input").peek((key, value) -> { })), Case.words("input")),
            Case.of("select_key", "The value's first letter is the key; null where there is none.",
                b -> Case.out(Case.stream(b, "input").selectKey((key, value) -> Case.initial(value))),
                Case.words("input")),
            Case.of("merge", "Two streams become one.",
                b -> Case.out(Case.stream(b, "left").merge(Case.stream(b, "right"))),
                Case.words("left"), Case.words("right")));
    }

    private static List<Case> routes() {
        return List.of(
            Case.of("branch", "By first letter to output-a, output-b, or else output-rest.",
                b -> Case.stream(b, "input").split()
                    .branch((key, value) -> "a".equals(Case.initial(value)),
                        Branched.withConsumer(own -> Case.out(own, "output-a")))
                    .branch((key, value) -> "b".equals(Case.initial(value)),
                        Branched.withConsumer(own -> Case.out(own, "output-b")))
                    .defaultBranch(Branched.withConsumer(own -> Case.out(own, "output-rest"))),
                Case.words("input")),
            Case.of("branch-first_match", "The first predicate that holds decides; what none holds for is dropped.",
                b -> Case.stream(b, "input").split()
                    .branch((key, value) -> hasA(value), Branched.withConsumer(own -> Case.out(own, "output-a")))
                    .branch((key, value) -> value != null && value.length() > 1,
                        Branched.withConsumer(own -> Case.out(own, "output-long")))
                    .noDefaultBranch(),
                Case.words("input")),
            Case.of("to-chosen", "The topic is chosen by the value's first letter.",
                b -> Case.stream(b, "input").to(
                    (key, value, context) -> "output-" + Case.initial(value), Case.produced()),
                Case.words("input")),
            Case.of("repartition", "By the value's first letter through a topic, where nothing without a key goes.",
                b -> Case.out(Case.stream(b, "input").selectKey((key, value) -> Case.initial(value))
                    .repartition(Repartitioned.as("by-letter"))),
                Case.words("input")));
    }

    private static List<Case> tables() {
        return List.of(
            Case.of("to_stream", "A table's changes.",
                b -> Case.out(b.<String, String>table("input")), Case.rows("input")),
            Case.of("to_stream-kept", "A table's changes and its store.",
                b -> Case.out(b.<String, String>table("input", Materialized.as("store"))), Case.rows("input")),
            Case.of("to_table", "A stream's values as a table: null deletes.",
                b -> Case.out(Case.stream(b, "input").toTable(Materialized.as("store"))), Case.rows("input")),
            Case.of("to_table-by_letter", "A table behind a repartition.",
                b -> Case.out(Case.stream(b, "input").selectKey((key, value) -> Case.initial(value))
                    .toTable(Materialized.as("store"))),
                Case.rows("input")),
            Case.of("table-filter", "Rows that have an a; one that has none any more is deleted.",
                b -> Case.out(rows(b).filter((key, value) -> hasA(value))), Case.rows("input")),
            Case.of("table-filter-kept", "As table-filter, in a store of its own: only what was there is deleted.",
                b -> Case.out(rows(b).filter((key, value) -> hasA(value), Materialized.as("store"))),
                Case.rows("input")),
            Case.of("table-filter_not", "Rows that have no a.",
                b -> Case.out(rows(b).filterNot((key, value) -> hasA(value), Named.as("without"))),
                Case.rows("input")),
            Case.of("table-map_values", "Capital letters; deletes stay deletes.",
                b -> Case.out(rows(b).mapValues(Stateless::capitals)), Case.rows("input")),
            Case.of("table-map_values-kept", "As table-map_values, in a store of its own.",
                b -> Case.out(rows(b).mapValues(Stateless::capitals, Materialized.as("store"))),
                Case.rows("input")));
    }

    private static KTable<String, String> rows(StreamsBuilder builder) {
        return Case.table(builder, "input");
    }

    private static boolean hasA(String value) {
        return value != null && value.contains("a");
    }

    private static String capitals(String value) {
        return value == null ? null : value.toUpperCase(Locale.ROOT);
    }

    private static List<String> letters(String value) {
        return value == null ? List.of() : value.chars().mapToObj(Character::toString).toList();
    }

    private Stateless() {}
}
