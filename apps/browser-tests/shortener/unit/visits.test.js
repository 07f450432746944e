import assert from "node:assert/strict";
import { test } from "node:test";
import { barsOf } from "../../../shortener/web/chart.js";
import { afterChange, afterReset } from "../../../shortener/web/visits.js";

const count = (day, visits) => ({ start: `${day}T00:00:00.000Z`, visits });

test("a count replaces the one that was told before", () => {
  const first = afterReset([count("2026-03-01", 2)]);
  const second = afterChange(first, count("2026-03-02", 1));
  const third = afterChange(second, count("2026-03-01", 3));
  assert.deepEqual([...third], [["2026-03-01T00:00:00.000Z", 3], ["2026-03-02T00:00:00.000Z", 1]]);
  assert.equal(first.get("2026-03-01T00:00:00.000Z"), 2, "what was rendered stays as it was");
});

test("bars are the last thirty days in UTC, with those that nobody visited", () => {
  const days = afterReset([count("2026-02-01", 9), count("2026-03-01", 2), count("2026-03-02", 1)]);
  const bars = barsOf(days, Date.parse("2026-03-02T00:00:00Z"));
  assert.equal(bars.length, 30);
  assert.deepEqual(bars.slice(-3), [{ day: "2026-02-28", visits: 0 }, { day: "2026-03-01", visits: 2 }, { day: "2026-03-02", visits: 1 }]);
  assert.equal(bars.some(({ visits }) => visits === 9), true, "the first of thirty is the first of February");
  assert.equal(barsOf(days, Date.parse("2026-03-03T00:00:00Z")).some(({ visits }) => visits === 9), false);
});
