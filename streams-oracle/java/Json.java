import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Map;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.kstream.Windowed;

/**
 * Values of any topic: texts and 64-bit integers as JSON, and windowed keys as {@code {"key", "start", "end"}}.
 *
 * <p>One serde for everything, so that no topology has to name one.
 */
public final class Json extends Serdes.WrapperSerde<Object> {
    static final ObjectMapper MAPPER =
        new ObjectMapper().enable(DeserializationFeature.USE_LONG_FOR_INTS);

    public Json() {
        super((topic, data) -> write(data), (topic, data) -> read(data));
    }

    static byte[] write(Object data) {
        try {
            return data == null ? null : MAPPER.writeValueAsBytes(node(data));
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    static JsonNode node(Object data) {
        if (data instanceof Windowed<?> windowed) {
            return MAPPER.valueToTree(Map.of(
                "key", windowed.key(), "start", windowed.window().start(), "end", windowed.window().end()));
        }
        return MAPPER.valueToTree(data);
    }

    private static Object read(byte[] data) {
        try {
            return data == null ? null : MAPPER.readValue(data, Object.class);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
