import assert from "node:assert/strict";
import { test } from "node:test";
import { afterEvents, itemsOf, quantityOf, spoken } from "../../../ordering/web/basket.js";

const reset = (...items) => ({ event: "reset", data: JSON.stringify(items) });
const change = (item) => ({ event: "change", data: JSON.stringify(item) });
const item = (label, price, quantity) => ({ label, price, quantity });
const shown = ({ basket }) => ["cheap", "affordable"].map((price) => itemsOf(basket, price).map(({ label, quantity }) => `${label} ${quantity}`));

const cases = [
  ["a reset is everything", [reset(item("Tea", "cheap", 2), item("Pan", "affordable", 1))], [["Tea 2"], ["Pan 1"]]],
  ["a change replaces the quantity", [reset(item("Tea", "cheap", 2)), change(item("Tea", "cheap", 3))], [["Tea 3"], []]],
  ["a change can add", [reset(), change(item("Tea", "cheap", 1))], [["Tea 1"], []]],
  ["a quantity of zero removes", [reset(item("Tea", "cheap", 2)), change(item("Tea", "cheap", 0))], [[], []]],
  ["one label may stand in two groups", [reset(item("Tea", "cheap", 1)), change(item("Tea", "affordable", 4))], [["Tea 1"], ["Tea 4"]]],
  ["a reset forgets what was before", [reset(item("Tea", "cheap", 2)), reset(item("Pan", "affordable", 1))], [[], ["Pan 1"]]],
  ["labels are in order, as people count", [reset(item("Pan 10", "cheap", 1), item("apple", "cheap", 1), item("Pan 9", "cheap", 1))], [["apple 1", "Pan 9 1", "Pan 10 1"], []]],
];

for (const [name, events, expected] of cases) {
  test(`the basket: ${name}`, () => {
    assert.deepEqual(shown(afterEvents(undefined, events)), expected, "in one run");
    const oneByOne = events.reduce((before, event) => afterEvents(before.basket, [event]), { basket: undefined });
    assert.deepEqual(shown(oneByOne), expected, "event by event");
  });
}

test("an earlier basket is not touched by a change", () => {
  const { basket } = afterEvents(undefined, [reset(item("Tea", "cheap", 2))]);
  afterEvents(basket, [change(item("Tea", "cheap", 9))]);
  assert.equal(quantityOf(itemsOf(basket, "cheap")), 2);
});

test("a few changes are read out, many are counted", () => {
  const changes = [item("Tea", "cheap", 2), item("Pan", "affordable", 1)];
  assert.equal(spoken(changes), "Tea: 2, cheap. Pan: 1, affordable.");
  assert.match(spoken([...changes, ...changes]), /^4 changes/);
});
