import java.util.List;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.VersionedKeyValueStore;
import org.apache.kafka.streams.state.VersionedRecord;

/** Processors of one's own: stores, and punctuation by both kinds of time. */
final class Processors {
    static List<Case> cases() {
        return List.of(
            Case.of("process-store", "Numbers each key's values in a store; a value with a b deletes the number.",
                b -> {
                    b.addStateStore(Stores.keyValueStoreBuilder(
                        Stores.inMemoryKeyValueStore("store"), Serdes.String(), Serdes.Long()));
                    Case.out(Case.stream(b, "input").process(Numbering::new, "store"));
                },
                Case.words("input")),
            Case.of("punctuate-stream_time", "Every 10 ms of stream time, how many records came since.",
                b -> Case.out(Case.stream(b, "input")
                    .process(() -> new Counting(10, PunctuationType.STREAM_TIME))),
                Case.words("input")),
            Case.of("punctuate-wall_clock", "Every 10 ms of wall clock, how many records came since.",
                b -> Case.out(Case.stream(b, "input")
                    .process(() -> new Counting(10, PunctuationType.WALL_CLOCK_TIME))),
                Case.words("input"), Case.CLOCK),
            Case.of("versioned-as_of", "Rows with 20 ms of history, and what was in force at a time.",
                b -> {
                    b.addStateStore(Stores.versionedKeyValueStoreBuilder(
                        Stores.persistentVersionedKeyValueStore("versions", Case.ms(20)),
                        Serdes.String(), Case.<String>values()));
                    Case.stream(b, "input").process(Remembering::new, "versions");
                    Case.out(b.<String, Long>stream("as-of").process(LookingBack::new, "versions"));
                },
                Case.rows("input"), new Case.Source("as-of", Case.TIMES)));
    }

    private static final class Numbering extends ContextualProcessor<String, String, String, Long> {
        @Override
        public void process(Record<String, String> record) {
            KeyValueStore<String, Long> store = context().getStateStore("store");
            if (record.key() == null || record.value() == null) {
                return;
            }
            if (record.value().contains("b")) {
                store.delete(record.key());
                return;
            }
            Long before = store.get(record.key());
            long number = before == null ? 1 : before + 1;
            store.put(record.key(), number);
            context().forward(record.withValue(number));
        }
    }

    private static final class Counting extends ContextualProcessor<String, String, String, Long> {
        private final long everyMs;
        private final PunctuationType type;
        private long seen;

        Counting(long everyMs, PunctuationType type) {
            this.everyMs = everyMs;
            this.type = type;
        }

        @Override
        public void init(ProcessorContext<String, Long> context) {
            super.init(context);
            context.schedule(Case.ms(everyMs), type, time -> {
                context.forward(new Record<>("seen", seen, time));
                seen = 0;
            });
        }

        @Override
        public void process(Record<String, String> record) {
            seen += 1;
        }
    }

    private static final class Remembering extends ContextualProcessor<String, String, Void, Void> {
        @Override
        public void process(Record<String, String> record) {
            VersionedKeyValueStore<String, String> store = context().getStateStore("versions");
            if (record.key() != null) {
                store.put(record.key(), record.value(), record.timestamp());
            }
        }
    }

    /** Answers with the row in force at the record's value, and from when on it was. */
    private static final class LookingBack extends ContextualProcessor<String, Long, String, String> {
        @Override
        public void process(Record<String, Long> record) {
            VersionedKeyValueStore<String, String> store = context().getStateStore("versions");
            if (record.key() != null && record.value() != null) {
                VersionedRecord<String> found = store.get(record.key(), record.value());
                context().forward(record.withValue(found == null ? null : text(found)));
            }
        }

        private static String text(VersionedRecord<String> found) {
            return found.value() + " " + found.timestamp();
        }
    }

    private Processors() {}
}
