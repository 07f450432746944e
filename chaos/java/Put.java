// Appends any bytes to any partition, as a stranger to the service would.
//
// Usage: java Put.java BOOTSTRAP plain|commit|abort
// Each line of standard input: topic, partition, key, value, headers (name=value, ...); tabs between, bytes in base64,
// "-" for null. With "commit" and "abort" all of it is one transaction, which ends so. Prints each record's offset.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.Future;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public class Put {
    public static void main(String[] args) throws Exception {
        boolean transaction = !args[1].equals("plain");
        Properties settings = new Properties();
        settings.put("bootstrap.servers", args[0]);
        settings.put("acks", "all");
        settings.put("max.request.size", "20000000");
        if (transaction) {
            settings.put("transactional.id", "a-stranger");
        }
        try (KafkaProducer<byte[], byte[]> producer =
                new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            if (transaction) {
                producer.initTransactions();
                producer.beginTransaction();
            }
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                sent.add(producer.send(record(line.split("\t", -1))));
            }
            producer.flush();
            for (Future<RecordMetadata> one : sent) {
                System.out.println(one.get().offset());
            }
            if (args[1].equals("commit")) {
                producer.commitTransaction();
            } else if (args[1].equals("abort")) {
                producer.abortTransaction();
            }
        }
    }

    static ProducerRecord<byte[], byte[]> record(String[] parts) {
        ProducerRecord<byte[], byte[]> record =
                new ProducerRecord<>(parts[0], Integer.valueOf(parts[1]), bytes(parts[2]), bytes(parts[3]));
        for (String header : parts[4].isEmpty() ? new String[0] : parts[4].split(",")) {
            int at = header.indexOf('=');
            record.headers().add(header.substring(0, at), bytes(header.substring(at + 1)));
        }
        return record;
    }

    static byte[] bytes(String text) {
        return text.equals("-") ? null : Base64.getDecoder().decode(text);
    }
}
