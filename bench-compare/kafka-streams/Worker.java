import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.time.Duration;
import java.time.Instant;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.LongAdder;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StoreQueryParameters;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.InvalidStateStoreException;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Repartitioned;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.QueryableStoreTypes;
import org.apache.kafka.streams.state.ReadOnlyKeyValueStore;
import org.apache.kafka.streams.state.ReadOnlyWindowStore;
import org.apache.kafka.streams.state.WindowStore;
import org.apache.kafka.streams.state.WindowStoreIterator;

/**
 * Kafka Streams' side of the comparison: one topology in one process, which the comparison starts, asks and kills.
 *
 * <p>It speaks the same lines as Headwater's worker. On standard output: {@code processed N} ten times a second while N
 * grows, {@code value N} or {@code value none} after a {@code get KEY} on standard input, or after a {@code sum KEY} over
 * all windows of a key, and {@code waiting WHY} instead while the store cannot be asked. It ends when its standard input does.
 */
public final class Worker {
    private static final String STORE = "counts";
    /** Repartitions of "hops", one behind the other; as many as Headwater's worker has. */
    private static final int HOPS = 3;

    private final Map<String, String> options;
    private final LongAdder processed = new LongAdder();
    private final PrintStream out = System.out;

    private Worker(Map<String, String> options) {
        this.options = options;
    }

    public static void main(String[] args) throws IOException {
        Map<String, String> options = new HashMap<>();
        for (int i = 1; i + 1 < args.length; i += 2) {
            options.put(args[i], args[i + 1]);
        }
        new Worker(options).run(args[0]);
    }

    private void run(String work) throws IOException {
        KafkaStreams streams = new KafkaStreams(topology(work).build(), settings(work));
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            return org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse
                .SHUTDOWN_CLIENT;
        });
        streams.start();
        Thread teller = new Thread(this::tell);
        teller.setDaemon(true);
        teller.start();
        answer(streams);
        streams.close(Duration.ofSeconds(10));
    }

    private StreamsBuilder topology(String work) {
        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, byte[]> input =
            builder.stream(options.get("--input"), Consumed.with(Serdes.String(), Serdes.ByteArray()));
        switch (work) {
            case "count" -> input
                .peek((key, value) -> processed.increment())
                .groupByKey(Grouped.with(Serdes.String(), Serdes.ByteArray()))
                .count(Materialized.<String, Long, KeyValueStore<Bytes, byte[]>>as(STORE)
                    .withKeySerde(Serdes.String()).withValueSerde(Serdes.Long()));
            case "map" -> input
                .mapValues(value -> {
                    processed.increment();
                    return mapped(value);
                })
                .to(options.get("--output"), Produced.with(Serdes.String(), Serdes.ByteArray()));
            case "join" -> {
                KTable<String, byte[]> left = rows(input);
                KTable<String, byte[]> right = rows(
                    builder.stream(options.get("--other"), Consumed.with(Serdes.String(), Serdes.ByteArray())));
                left.join(right, (one, other) -> (long) one.length + other.length,
                    Materialized.<String, Long, KeyValueStore<Bytes, byte[]>>as(STORE)
                        .withKeySerde(Serdes.String()).withValueSerde(Serdes.Long()));
            }
            case "window" -> input
                .peek((key, value) -> processed.increment())
                .groupByKey(Grouped.with(Serdes.String(), Serdes.ByteArray()))
                .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofSeconds(1), Duration.ofHours(1)))
                .count(Materialized.<String, Long, WindowStore<Bytes, byte[]>>as(STORE)
                    .withKeySerde(Serdes.String()).withValueSerde(Serdes.Long()));
            case "hops" -> {
                KStream<String, byte[]> hopped = input;
                for (int hop = 1; hop <= HOPS; hop++) {
                    hopped = hopped.repartition(
                        Repartitioned.<String, byte[]>as("hop-" + hop)
                            .withKeySerde(Serdes.String()).withValueSerde(Serdes.ByteArray()));
                }
                hopped.to(options.get("--output"), Produced.with(Serdes.String(), Serdes.ByteArray()));
            }
            case "read" -> input.foreach((key, value) -> processed.increment());
            default -> throw new IllegalArgumentException(work);
        }
        return builder;
    }

    private KTable<String, byte[]> rows(KStream<String, byte[]> stream) {
        return stream
            .peek((key, value) -> processed.increment())
            .toTable(Materialized.with(Serdes.String(), Serdes.ByteArray()));
    }

    /** Changes the last byte, as Headwater's worker does. */
    private static byte[] mapped(byte[] value) {
        byte[] changed = value.clone();
        changed[changed.length - 1] ^= 1;
        return changed;
    }

    private Properties settings(String work) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, options.get("--group"));
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, options.get("--bootstrap"));
        settings.put(StreamsConfig.STATE_DIR_CONFIG, options.get("--data"));
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, options.getOrDefault("--threads", "1"));
        settings.put("auto.offset.reset", "earliest");
        if (!work.equals("read")) {
            settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        }
        if (options.containsKey("--commit-ms")) {
            settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, options.get("--commit-ms"));
        }
        return settings;
    }

    private void tell() {
        long told = 0;
        while (true) {
            try {
                Thread.sleep(100);
            } catch (InterruptedException interrupted) {
                return;
            }
            long now = processed.sum();
            if (now != told) {
                say("processed " + now);
                told = now;
            }
        }
    }

    private void answer(KafkaStreams streams) throws IOException {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] question = line.split(" ", 2);
            say(question[0].equals("sum") ? sum(streams, question[1]) : get(streams, question[1]));
        }
    }

    private String get(KafkaStreams streams, String key) {
        try {
            ReadOnlyKeyValueStore<String, Long> store = streams.store(
                StoreQueryParameters.fromNameAndType(STORE, QueryableStoreTypes.keyValueStore()));
            Long count = store.get(key);
            return "value " + (count == null ? "none" : count);
        } catch (InvalidStateStoreException notYet) {
            return "waiting " + List.of(notYet.getClass().getSimpleName(), streams.state());
        }
    }

    private String sum(KafkaStreams streams, String key) {
        try {
            ReadOnlyWindowStore<String, Long> store = streams.store(
                StoreQueryParameters.fromNameAndType(STORE, QueryableStoreTypes.windowStore()));
            long sum = 0;
            try (WindowStoreIterator<Long> windows = store.fetch(key, Instant.EPOCH, Instant.now())) {
                while (windows.hasNext()) {
                    sum += windows.next().value;
                }
            }
            return "value " + (sum == 0 ? "none" : sum);
        } catch (InvalidStateStoreException notYet) {
            return "waiting " + List.of(notYet.getClass().getSimpleName(), streams.state());
        }
    }

    private synchronized void say(String line) {
        out.println(line);
        out.flush();
    }
}
