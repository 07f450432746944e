import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.stream.Stream;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.TopologyTestDriver;
import org.apache.kafka.streams.state.BuiltInDslStoreSuppliers;

/**
 * Kafka Streams' own answers: runs small topologies in its test driver, one request a line.
 *
 * <p>A request is {@code {"topology": NAME, "inputs": [INPUT...]}}, where an input is {@code {"topic", "key", "value",
 * "time", "headers"?}} or {@code {"advance_wall_clock_ms": N}}. It is answered by {@code {"outputs": [{"after", "topic",
 * "key", "value", "time", "headers"?}...], "store": [{"key", "value", "time"?}...], "dropped": N}}, where
 * {@code after} is the index of the input that an output came after, and the store is the one named {@code store}. Keys
 * of topics are texts or null, values are texts, 64-bit integers or null; windowed keys are {@code {"key", "start",
 * "end"}}. {@code {"list": true}} is answered by {@code {"cases": [...]}}, and whatever cannot be answered by
 * {@code {"error": WHY}}. The wall clock begins at 0. The one argument is a folder for stores that are not kept in
 * memory.
 */
public final class Reference {
    /** No topic of a case begins like this: the topics that do are Kafka Streams' internal ones. */
    static final String APPLICATION = "reference";

    private static final Map<String, Case> CASES = new LinkedHashMap<>();

    static {
        Stream.of(Stateless.cases(), Aggregations.cases(), Windows.cases(), Joins.cases(), Processors.cases())
            .flatMap(List::stream)
            .forEach(own -> {
                if (CASES.put(own.name(), own) != null) {
                    throw new IllegalStateException("two cases are named " + own.name());
                }
            });
    }

    public static void main(String[] args) throws IOException {
        PrintStream answers = new PrintStream(new FileOutputStream(FileDescriptor.out), false, StandardCharsets.UTF_8);
        // What a library prints must not be taken for an answer.
        System.setOut(System.err);
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            answers.println(answer(line, args[0]));
            answers.flush();
        }
    }

    private static JsonNode answer(String line, String state) {
        try {
            JsonNode request = Json.MAPPER.readTree(line);
            return request.has("list") ? list() : run(request, state);
        } catch (Exception error) {
            return Json.MAPPER.createObjectNode().put("error", reason(error));
        }
    }

    private static String reason(Throwable error) {
        String own = error.toString();
        return error.getCause() == null ? own : own + "; because of " + reason(error.getCause());
    }

    private static JsonNode list() {
        ObjectNode answer = Json.MAPPER.createObjectNode();
        ArrayNode cases = answer.putArray("cases");
        for (Case own : CASES.values()) {
            ObjectNode listed = cases.addObject().put("name", own.name()).put("about", own.about());
            listed.set("sources", Json.MAPPER.valueToTree(own.sources()));
        }
        return answer;
    }

    private static JsonNode run(JsonNode request, String state) {
        String name = request.path("topology").asText();
        Case chosen = CASES.get(name);
        if (chosen == null) {
            throw new IllegalArgumentException("there is no topology " + name);
        }
        StreamsBuilder builder = new StreamsBuilder();
        chosen.build().accept(builder);
        try (TopologyTestDriver driver = new TopologyTestDriver(builder.build(), settings(state), Instant.EPOCH)) {
            Run run = new Run(driver);
            int index = 0;
            for (JsonNode input : request.path("inputs")) {
                run.pipe(input, index++);
            }
            return run.answer();
        } finally {
            MemoryFiles.release();
        }
    }

    /** Every update is forwarded at once, and what a window's end releases is looked for with every record. */
    private static Properties settings(String state) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, APPLICATION);
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, "none:1");
        settings.put(StreamsConfig.STATE_DIR_CONFIG, state);
        settings.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        settings.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Json.class);
        settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0);
        settings.put(
            StreamsConfig.DSL_STORE_SUPPLIERS_CLASS_CONFIG,
            BuiltInDslStoreSuppliers.InMemoryDslStoreSuppliers.class);
        settings.put(StreamsConfig.ROCKSDB_CONFIG_SETTER_CLASS_CONFIG, MemoryFiles.class);
        settings.put(
            StreamsConfig.InternalConfig.EMIT_INTERVAL_MS_KSTREAMS_OUTER_JOIN_SPURIOUS_RESULTS_FIX, 0L);
        settings.put(StreamsConfig.InternalConfig.EMIT_INTERVAL_MS_KSTREAMS_WINDOWED_AGGREGATION, 0L);
        return settings;
    }

    static Duration duration(JsonNode ms) {
        return Duration.ofMillis(ms.asLong());
    }

    private Reference() {}
}
