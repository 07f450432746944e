import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.kafka.streams.state.RocksDBConfigSetter;
import org.rocksdb.Env;
import org.rocksdb.Options;
import org.rocksdb.RocksMemEnv;

/**
 * Keeps the files of RocksDB in memory, where a store cannot be had without it.
 *
 * <p>The test driver flushes all stores after every record; on a disk that takes most of a run's time.
 */
public final class MemoryFiles implements RocksDBConfigSetter {
    private static final List<Env> OPEN = new ArrayList<>();

    @Override
    public void setConfig(String store, Options options, Map<String, Object> settings) {
        Env files = new RocksMemEnv(Env.getDefault());
        OPEN.add(files);
        options.setEnv(files);
    }

    @Override
    public void close(String store, Options options) {
        // Kafka Streams calls this before it closes the database, which still needs its files.
    }

    /** Frees the files of all stores, once they are closed. */
    static void release() {
        OPEN.forEach(Env::close);
        OPEN.clear();
    }
}
