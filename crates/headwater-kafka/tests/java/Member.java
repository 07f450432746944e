import java.time.Duration;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** Is a member of a group until its input ends; says "has 0,2" whenever its partitions change, and "lost" when some are. */
class Member implements ConsumerRebalanceListener {
    static volatile boolean over = false;

    public void onPartitionsAssigned(Collection<TopicPartition> gained) {}

    public void onPartitionsRevoked(Collection<TopicPartition> revoked) {}

    public void onPartitionsLost(Collection<TopicPartition> lost) {
        System.out.println("lost " + lost);
    }

    public static void main(String[] args) throws Exception {
        Map<String, Object> config = Map.of(
            "bootstrap.servers", args[0], "group.id", args[1], "group.protocol", "classic", "auto.offset.reset", "earliest",
            "partition.assignment.strategy", CooperativeStickyAssignor.class.getName(), "enable.auto.commit", false,
            "session.timeout.ms", 6_000, "heartbeat.interval.ms", 500);
        Thread input = new Thread(() -> {
            try {
                while (System.in.read() >= 0) {}
            } catch (java.io.IOException closed) {
                // It is over then, too.
            }
            over = true;
        });
        input.setDaemon(true);
        input.start();
        ByteArrayDeserializer bytes = new ByteArrayDeserializer();
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(config, bytes, bytes)) {
            consumer.subscribe(List.of(args[2]), new Member());
            String said = "";
            while (!over) {
                consumer.poll(Duration.ofMillis(50));
                TreeSet<Integer> has = new TreeSet<>();
                consumer.assignment().forEach(at -> has.add(at.partition()));
                String now = "has " + has.stream().map(String::valueOf).collect(Collectors.joining(","));
                if (!now.equals(said)) {
                    System.out.println(now);
                }
                said = now;
            }
        }
    }
}
