import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import java.util.function.Function;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.GlobalKTable;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.Joined;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.StreamJoined;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * Joins of every kind of {@code left} and {@code right}.
 *
 * <p>Streams join where their times are at most 15 ms apart, with a grace of 5 ms where there is one. Versioned tables
 * keep 20 ms of history, and streams wait 5 ms for them where there is a grace.
 */
final class Joins {
    private static final long DIFFERENCE = 15;
    private static final long GRACE = 5;
    private static final long HISTORY = 20;

    static List<Case> cases() {
        List<Case> cases = new ArrayList<>();
        streams(cases, "", JoinWindows.ofTimeDifferenceWithNoGrace(Case.ms(DIFFERENCE)));
        streams(cases, "-grace", JoinWindows.ofTimeDifferenceAndGrace(Case.ms(DIFFERENCE), Case.ms(GRACE)));
        streams(cases, "-lopsided",
            JoinWindows.ofTimeDifferenceAndGrace(Case.ms(DIFFERENCE), Case.ms(GRACE)).before(Case.ms(3)));
        streamTable(cases, "", Case.words("left"), b -> Case.table(b, "right"), Joined.as("join"));
        streamTable(cases, "-versioned", Case.words("left"), b -> versioned(b, "right"), Joined.as("join"));
        // Kafka Streams 4.3.0 ends with a NullPointerException where a null key is to wait for a grace.
        streamTable(cases, "-versioned-grace", new Case.Source("left", Case.WORDS, false),
            b -> versioned(b, "right"), Joined.<String, String, String>as("join").withGracePeriod(Case.ms(GRACE)));
        globalTable(cases);
        tables(cases, "", b -> Case.table(b, "left"), b -> Case.table(b, "right"));
        tables(cases, "-versioned", b -> versioned(b, "left"), b -> versioned(b, "right"));
        foreignKeys(cases, "", b -> Case.table(b, "left"), b -> Case.table(b, "right"));
        foreignKeys(cases, "-versioned", b -> versioned(b, "left"), b -> versioned(b, "right"));
        return cases;
    }

    private static void streams(List<Case> cases, String how, JoinWindows windows) {
        Map<String, Consumer<StreamsBuilder>> joins = Map.of(
            "inner", b -> Case.out(left(b).join(right(b), Case::pair, windows, named())),
            "left", b -> Case.out(left(b).leftJoin(right(b), Case::pair, windows, named())),
            "outer", b -> Case.out(left(b).outerJoin(right(b), Case::pair, windows, named())));
        for (String kind : List.of("inner", "left", "outer")) {
            cases.add(Case.of("stream_stream-" + kind + how, "Values of two streams that are close in time.",
                joins.get(kind), Case.words("left"), Case.words("right")));
        }
    }

    private static StreamJoined<String, String, String> named() {
        return StreamJoined.<String, String, String>as("join").withStoreName("join");
    }

    private static void streamTable(
        List<Case> cases, String how, Case.Source left, Function<StreamsBuilder, KTable<String, String>> table,
        Joined<String, String, String> joined
    ) {
        cases.add(Case.of("stream_table-inner" + how, "A stream's values with the row of their key.",
            b -> Case.out(left(b).join(table.apply(b), Case::pair, joined)),
            left, Case.rows("right")));
        cases.add(Case.of("stream_table-left" + how, "A stream's values with the row of their key, or null.",
            b -> Case.out(left(b).leftJoin(table.apply(b), Case::pair, joined)),
            left, Case.rows("right")));
    }

    private static void globalTable(List<Case> cases) {
        cases.add(Case.of("stream_global-inner", "A stream's values with the row that their first letter names.",
            b -> {
                GlobalKTable<String, String> table = b.globalTable("right");
                Case.out(left(b).join(table, (key, value) -> Case.initial(value), Case::pair));
            },
            Case.words("left"), Case.rows("right")));
        cases.add(Case.of("stream_global-left", "As stream_global-inner, with null where there is no row.",
            b -> {
                GlobalKTable<String, String> table = b.globalTable("right");
                Case.out(left(b).leftJoin(table, (key, value) -> Case.initial(value), Case::pair));
            },
            Case.words("left"), Case.rows("right")));
        cases.add(Case.of("stream_global-left-by_key", "As stream_global-left, by the key that values have.",
            b -> {
                GlobalKTable<String, String> table = b.globalTable("right");
                Case.out(left(b).leftJoin(table, (key, value) -> key, Case::pair));
            },
            Case.words("left"), Case.rows("right")));
    }

    private static void tables(
        List<Case> cases, String how, Function<StreamsBuilder, KTable<String, String>> one,
        Function<StreamsBuilder, KTable<String, String>> other
    ) {
        Materialized<String, String, KeyValueStore<Bytes, byte[]>> store = Materialized.as("store");
        Map<String, Consumer<StreamsBuilder>> joins = Map.of(
            "inner", b -> Case.out(one.apply(b).join(other.apply(b), Case::pair, store)),
            "left", b -> Case.out(one.apply(b).leftJoin(other.apply(b), Case::pair, store)),
            "outer", b -> Case.out(one.apply(b).outerJoin(other.apply(b), Case::pair, store)));
        for (String kind : List.of("inner", "left", "outer")) {
            cases.add(Case.of("table_table-" + kind + how, "Rows of two tables under one key.",
                joins.get(kind), Case.rows("left"), Case.rows("right")));
        }
    }

    private static void foreignKeys(
        List<Case> cases, String how, Function<StreamsBuilder, KTable<String, String>> one,
        Function<StreamsBuilder, KTable<String, String>> other
    ) {
        Case.Source references = new Case.Source("left", Case.REFERENCES);
        cases.add(Case.of("foreign_key-inner" + how, "Rows with the row that they name before a colon.",
            b -> Case.out(one.apply(b).join(other.apply(b), Joins::foreignKey, Case::pair)),
            references, Case.rows("right")));
        cases.add(Case.of("foreign_key-left" + how, "As foreign_key-inner, with null where there is no such row.",
            b -> Case.out(one.apply(b).leftJoin(other.apply(b), Joins::foreignKey, Case::pair)),
            references, Case.rows("right")));
    }

    /** What stands before the colon, everything where there is none; null where that is nothing. */
    private static String foreignKey(String value) {
        String key = value.split(":", 2)[0];
        return key.isEmpty() ? null : key;
    }

    private static KTable<String, String> versioned(StreamsBuilder builder, String topic) {
        return builder.table(topic, Materialized.<String, String>as(
            Stores.persistentVersionedKeyValueStore(topic + "-versions", Case.ms(HISTORY)))
            .withKeySerde(Serdes.String()));
    }

    private static KStream<String, String> left(StreamsBuilder builder) {
        return Case.stream(builder, "left");
    }

    private static KStream<String, String> right(StreamsBuilder builder) {
        return Case.stream(builder, "right");
    }

    private Joins() {}
}
