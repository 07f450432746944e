import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Writes what a program of another language writes: records with and without key, value, header, and an aborted one. */
class Produce {
    static byte[] bytes(String text) {
        return text == null ? null : text.getBytes(StandardCharsets.UTF_8);
    }

    static ProducerRecord<byte[], byte[]> record(String topic, String key, String value) {
        return new ProducerRecord<>(topic, null, 1_700_000_000_000L, bytes(key), bytes(value));
    }

    public static void main(String[] args) throws Exception {
        Map<String, Object> config = Map.of("bootstrap.servers", args[0], "transactional.id", "jvm", "compression.type", "lz4");
        ByteArraySerializer serializer = new ByteArraySerializer();
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(config, serializer, serializer)) {
            producer.initTransactions();
            producer.beginTransaction();
            producer.send(record(args[1], "aborted", "never seen"));
            producer.flush();
            producer.abortTransaction();
            producer.beginTransaction();
            ProducerRecord<byte[], byte[]> order = record(args[1], "ada", "{\"item\": \"kettle\"}");
            order.headers().add("ce_type", bytes("order.placed")).add("empty", null);
            producer.send(order);
            producer.send(record(args[1], null, "no key"));
            producer.send(record(args[1], "ada", null));
            producer.commitTransaction();
        }
    }
}
