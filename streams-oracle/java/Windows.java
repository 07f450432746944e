import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.EmitStrategy;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.SessionWindowedKStream;
import org.apache.kafka.streams.kstream.SessionWindows;
import org.apache.kafka.streams.kstream.SlidingWindows;
import org.apache.kafka.streams.kstream.Suppressed;
import org.apache.kafka.streams.kstream.Suppressed.BufferConfig;
import org.apache.kafka.streams.kstream.TimeWindowedKStream;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.processor.StateStore;

/**
 * Windows of every kind, each with and without grace, emitting on update and on close; and suppression.
 *
 * <p>Tumbling windows have 5 ms; hopping ones 5 ms every 3; sliding ones a difference of 5 ms; sessions a gap of 5 ms.
 * Grace, where there is one, is 4 ms.
 */
final class Windows {
    private static final long SIZE = 5;
    private static final long ADVANCE = 3;

    static List<Case> cases() {
        List<Case> cases = new ArrayList<>();
        for (long grace : List.of(0L, 4L)) {
            for (EmitStrategy emit : List.of(EmitStrategy.onWindowUpdate(), EmitStrategy.onWindowClose())) {
                String how = (grace == 0 ? "" : "-grace")
                    + (emit.type() == EmitStrategy.StrategyType.ON_WINDOW_CLOSE ? "-close" : "");
                timed(cases, "tumbling", how,
                    group -> group.windowedBy(tumbling(grace)).emitStrategy(emit));
                timed(cases, "hopping", how,
                    group -> group.windowedBy(tumbling(grace).advanceBy(Case.ms(ADVANCE))).emitStrategy(emit));
                timed(cases, "sliding", how,
                    group -> group
                        .windowedBy(SlidingWindows.ofTimeDifferenceAndGrace(Case.ms(SIZE), Case.ms(grace)))
                        .emitStrategy(emit));
                sessions(cases, how, group -> group.windowedBy(session(grace)).emitStrategy(emit));
            }
        }
        cases.addAll(suppressed());
        return cases;
    }

    private static void timed(
        List<Case> cases, String kind, String how,
        Function<KGroupedStream<String, String>, TimeWindowedKStream<String, String>> windowed
    ) {
        cases.add(Case.of(kind + "-count" + how, "How many values a key has in each window.",
            b -> Case.out(windowed.apply(group(b)).count(kept())), Case.words("input")));
        cases.add(Case.of(kind + "-reduce" + how, "A key's values in each window.",
            b -> Case.out(windowed.apply(group(b))
                .reduce((all, value) -> all + value, kept())),
            Case.words("input")));
        cases.add(Case.of(kind + "-aggregate" + how, "A key's values in each window, after a colon.",
            b -> Case.out(windowed.apply(group(b))
                .aggregate(() -> ":", (key, value, all) -> all + value, kept())),
            Case.words("input")));
    }

    private static void sessions(
        List<Case> cases, String how,
        Function<KGroupedStream<String, String>, SessionWindowedKStream<String, String>> windowed
    ) {
        cases.add(Case.of("session-count" + how, "How many values a key has in each session.",
            b -> Case.out(windowed.apply(group(b)).count(kept())), Case.words("input")));
        cases.add(Case.of("session-reduce" + how, "A key's values in each session.",
            b -> Case.out(windowed.apply(group(b))
                .reduce((all, value) -> all + value, kept())),
            Case.words("input")));
        cases.add(Case.of("session-aggregate" + how, "A key's values in each session; a bar where two were merged.",
            b -> Case.out(windowed.apply(group(b))
                .aggregate(() -> "", (key, value, all) -> all + value, Windows::merged, kept())),
            Case.words("input")));
    }

    private static List<Case> suppressed() {
        List<Case> cases = new ArrayList<>();
        for (long grace : List.of(0L, 4L)) {
            String how = grace == 0 ? "" : "-grace";
            cases.add(Case.of("suppress-tumbling" + how, "Counts of tumbling windows, held until the window closes.",
                b -> Case.out(group(b).windowedBy(tumbling(grace)).count(keptUnnamed())
                    .suppress(Suppressed.untilWindowCloses(BufferConfig.unbounded()))),
                Case.words("input")));
            cases.add(Case.of("suppress-hopping" + how, "Counts of hopping windows, held until the window closes.",
                b -> Case.out(group(b).windowedBy(tumbling(grace).advanceBy(Case.ms(ADVANCE))).count(keptUnnamed())
                    .suppress(Suppressed.untilWindowCloses(BufferConfig.unbounded()))),
                Case.words("input")));
            cases.add(Case.of("suppress-session" + how, "Counts of sessions, held until the session closes.",
                b -> Case.out(group(b).windowedBy(session(grace)).count(keptUnnamed())
                    .suppress(Suppressed.untilWindowCloses(BufferConfig.unbounded()))),
                Case.words("input")));
        }
        cases.add(Case.of("suppress-limit", "Rows held for 5 ms of stream time.",
            b -> Case.out(Case.table(b, "input")
                .suppress(Suppressed.untilTimeLimit(Case.ms(5), BufferConfig.unbounded()))),
            Case.rows("input")));
        cases.add(Case.of("suppress-limit-count", "Counts held for 5 ms of stream time.",
            b -> Case.out(group(b).count()
                .suppress(Suppressed.untilTimeLimit(Case.ms(5), BufferConfig.unbounded()))),
            Case.words("input")));
        cases.add(Case.of("suppress-limit-tumbling", "Counts of windows held for 5 ms of stream time.",
            b -> Case.out(group(b).windowedBy(tumbling(4)).count(keptUnnamed())
                .suppress(Suppressed.untilTimeLimit(Case.ms(5), BufferConfig.unbounded()))),
            Case.words("input")));
        cases.add(Case.of("suppress-records", "Two rows at most are held; the oldest go first.",
            b -> Case.out(Case.table(b, "input")
                .suppress(Suppressed.untilTimeLimit(
                    Case.ms(1_000), BufferConfig.maxRecords(2).emitEarlyWhenFull()))),
            Case.rows("input")));
        return cases;
    }

    /** Two sessions as one. Merging begins with an empty session, which adds nothing. */
    static String merged(String key, String one, String other) {
        return one.isEmpty() ? other : one + "|" + other;
    }

    private static KGroupedStream<String, String> group(StreamsBuilder builder) {
        return Case.stream(builder, "input").groupByKey(Grouped.with(Serdes.String(), Case.values()));
    }

    /**
     * Windows stay for the day that the documentation tells.
     *
     * <p>Without a retention they are gone once stream time is past their size and grace, and with them what was still
     * to be emitted on close.
     */
    static <V, S extends StateStore> Materialized<String, V, S> kept() {
        return Materialized.<String, V, S>as("store").withRetention(Duration.ofDays(1));
    }

    private static <S extends StateStore> Materialized<String, Long, S> keptUnnamed() {
        return Materialized.<String, Long, S>with(Serdes.String(), Serdes.Long()).withRetention(Duration.ofDays(1));
    }

    private static TimeWindows tumbling(long grace) {
        return TimeWindows.ofSizeAndGrace(Case.ms(SIZE), Case.ms(grace));
    }

    private static SessionWindows session(long grace) {
        return SessionWindows.ofInactivityGapAndGrace(Case.ms(SIZE), Case.ms(grace));
    }

    private Windows() {}
}
