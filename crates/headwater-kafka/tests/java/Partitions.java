import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.Scanner;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;

/** Reads lines of "partitions base64(key)", and prints the partition that the JVM's producer chooses for each. */
class Partitions {
    public static void main(String[] args) {
        StringBuilder out = new StringBuilder();
        Scanner in = new Scanner(System.in, StandardCharsets.US_ASCII);
        while (in.hasNextLine()) {
            String[] words = in.nextLine().split(" ", -1);
            byte[] key = Base64.getDecoder().decode(words[1]);
            out.append(BuiltInPartitioner.partitionForKey(key, Integer.parseInt(words[0]))).append('\n');
        }
        System.out.print(out);
    }
}
