// Appends commands to the commands topic as any Java program would, with Kafka's own partitioner.
//
// Usage: java Send.java BOOTSTRAP TOPIC
// Each line of standard input: key, command id, value; tabs between. Each answer is a line: "ok" or "failed", a tab, and
// the command's id. A command of which the answer is "failed" may have been appended all the same.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

public class Send {
    public static void main(String[] args) throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", args[0]);
        settings.put("acks", "all");
        settings.put("delivery.timeout.ms", "60000");
        settings.put("request.timeout.ms", "10000");
        PrintStream out = new PrintStream(new java.io.FileOutputStream(java.io.FileDescriptor.out), true);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        try (KafkaProducer<String, String> producer =
                new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                String[] parts = line.split("\t", 3);
                ProducerRecord<String, String> record = new ProducerRecord<>(args[1], parts[0], parts[2]);
                record.headers().add("hw_command_id", parts[1].getBytes(StandardCharsets.UTF_8));
                producer.send(record, (metadata, error) -> {
                    synchronized (out) {
                        out.println((error == null ? "ok\t" : "failed\t") + parts[1]);
                    }
                });
            }
        }
    }
}
