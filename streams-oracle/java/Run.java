import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.HashMap;
import java.util.Iterator;
import java.util.Map;
import java.util.TreeSet;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.TestInputTopic;
import org.apache.kafka.streams.TestOutputTopic;
import org.apache.kafka.streams.TopologyTestDriver;
import org.apache.kafka.streams.processor.StateStore;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.SessionStore;
import org.apache.kafka.streams.state.ValueAndTimestamp;
import org.apache.kafka.streams.state.WindowStore;
import org.apache.kafka.streams.test.TestRecord;

/** One topology in the test driver: inputs go in one by one, and what comes out after each is noted. */
final class Run {
    private final TopologyTestDriver driver;
    private final Map<String, TestInputTopic<byte[], byte[]>> inputs = new HashMap<>();
    private final Map<String, TestOutputTopic<byte[], byte[]>> outputs = new HashMap<>();
    private final ObjectNode answer = Json.MAPPER.createObjectNode();
    private final ArrayNode produced = answer.putArray("outputs");

    Run(TopologyTestDriver driver) {
        this.driver = driver;
    }

    void pipe(JsonNode input, int index) {
        JsonNode advance = input.get("advance_wall_clock_ms");
        if (advance == null) {
            inputs.computeIfAbsent(input.path("topic").asText(), this::open).pipeInput(record(input));
        } else {
            driver.advanceWallClockTime(Reference.duration(advance));
        }
        for (String topic : new TreeSet<>(driver.producedTopicNames())) {
            if (!topic.startsWith(Reference.APPLICATION)) {
                drain(topic, index);
            }
        }
    }

    JsonNode answer() {
        rows(answer.putArray("store"), driver.getAllStateStores().get("store"));
        return answer.put("dropped", dropped());
    }

    private TestInputTopic<byte[], byte[]> open(String topic) {
        return driver.createInputTopic(topic, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private static TestRecord<byte[], byte[]> record(JsonNode input) {
        JsonNode key = input.path("key");
        byte[] bytes = key.isTextual() ? key.asText().getBytes(StandardCharsets.UTF_8) : null;
        JsonNode value = input.path("value");
        RecordHeaders headers = new RecordHeaders();
        input.path("headers").properties().forEach(header ->
            headers.add(header.getKey(), header.getValue().asText().getBytes(StandardCharsets.UTF_8)));
        return new TestRecord<>(
            bytes, value.isValueNode() && !value.isNull() ? Json.write(value) : null, headers,
            Instant.ofEpochMilli(input.path("time").asLong()));
    }

    private void drain(String topic, int index) {
        TestOutputTopic<byte[], byte[]> queue = outputs.computeIfAbsent(topic, name ->
            driver.createOutputTopic(name, new ByteArrayDeserializer(), new ByteArrayDeserializer()));
        while (!queue.isEmpty()) {
            TestRecord<byte[], byte[]> record = queue.readRecord();
            ObjectNode output = produced.addObject().put("after", index).put("topic", topic);
            output.set("key", parse(record.key()));
            output.set("value", parse(record.value()));
            output.put("time", record.timestamp());
            headers(output, record.headers());
        }
    }

    private static void headers(ObjectNode output, Headers headers) {
        for (Header header : headers) {
            output.withObject("/headers").put(header.key(), new String(header.value(), StandardCharsets.UTF_8));
        }
    }

    private static JsonNode parse(byte[] data) {
        try {
            return data == null ? Json.MAPPER.nullNode() : Json.MAPPER.readTree(data);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    @SuppressWarnings("unchecked")
    private static void rows(ArrayNode rows, StateStore store) {
        if (store instanceof KeyValueStore<?, ?> keyed) {
            rows(rows, keyed.all());
        } else if (store instanceof WindowStore<?, ?> windowed) {
            rows(rows, windowed.all());
        } else if (store instanceof SessionStore<?, ?> sessions) {
            rows(rows, ((SessionStore<Object, Object>) sessions).fetch(null, null));
        }
    }

    private static void rows(ArrayNode rows, KeyValueIterator<?, ?> iterator) {
        try (iterator) {
            for (Iterator<? extends KeyValue<?, ?>> all = iterator; all.hasNext();) {
                KeyValue<?, ?> row = all.next();
                ObjectNode noted = rows.addObject();
                noted.set("key", Json.node(row.key));
                if (row.value instanceof ValueAndTimestamp<?> stamped) {
                    noted.set("value", Json.node(stamped.value()));
                    noted.put("time", stamped.timestamp());
                } else {
                    noted.set("value", Json.node(row.value));
                }
            }
        }
    }

    private long dropped() {
        return driver.metrics().entrySet().stream()
            .filter(metric -> metric.getKey().name().equals("dropped-records-total"))
            .mapToLong(metric -> ((Number) metric.getValue().metricValue()).longValue())
            .sum();
    }
}
