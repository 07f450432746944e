import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.function.Consumer;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.common.serialization.Serde;

/** A small topology under a name: what it shows, what it reads, and how it is built. */
record Case(String name, String about, List<Source> sources, Consumer<StreamsBuilder> build) {
    /** A topic that a case reads, and what its values are like; {@link #CLOCK} stands for the wall clock. */
    record Source(String topic, String values, boolean nullKeys) {
        Source(String topic, String values) {
            this(topic, values, true);
        }
    }

    /** Short words of few letters. */
    static final String WORDS = "words";
    /** Small integers. */
    static final String NUMBERS = "numbers";
    /** Short words, and deletes often. */
    static final String ROWS = "rows";
    /** {@code key:word}, where the key is one of those that rows have; deletes often. */
    static final String REFERENCES = "references";
    /** Times to look back to. */
    static final String TIMES = "times";
    /** Not a topic: the wall clock is advanced between records. */
    static final Source CLOCK = new Source("", "clock");

    static Source words(String topic) {
        return new Source(topic, WORDS);
    }

    static Source rows(String topic) {
        return new Source(topic, ROWS);
    }

    static Case of(String name, String about, Consumer<StreamsBuilder> build, Source... sources) {
        return new Case(name, about, Arrays.asList(sources), build);
    }

    static KStream<String, String> stream(StreamsBuilder builder, String topic) {
        return builder.stream(topic);
    }

    static KTable<String, String> table(StreamsBuilder builder, String topic) {
        return builder.table(topic);
    }

    static <K, V> void out(KTable<K, V> table) {
        out(table.toStream());
    }

    static <K, V> void out(KStream<K, V> stream) {
        out(stream, "output");
    }

    static <K, V> void out(KStream<K, V> stream, String topic) {
        stream.to(topic, produced());
    }

    /** Keys and values of any type, windowed keys too, as the answers have them. */
    static <K, V> Produced<K, V> produced() {
        return Produced.with(values(), values());
    }

    @SuppressWarnings("unchecked")
    static <T> Serde<T> values() {
        return (Serde<T>) new Json();
    }

    static Duration ms(long ms) {
        return Duration.ofMillis(ms);
    }

    /** Both values of a join, as Kafka's documentation shows them. */
    static String pair(String left, String right) {
        return "[" + left + ", " + right + "]";
    }

    /** The first letter, or null where there is none. */
    static String initial(String word) {
        return word == null || word.isEmpty() ? null : word.substring(0, 1);
    }
}
