import assert from "node:assert/strict";
import { test } from "node:test";
import { Problem } from "../../../ordering/web/api.js";
import { attemptFor, place } from "../../../ordering/web/placing.js";

const CONTENT = { customerId: "ada", itemLabel: "Tea", itemPrice: "3.20" };
const lost = () => new Problem({});
const busy = () => new Problem({ status: 503, retryAfterMs: 1_000 });
const refused = () => new Problem({ status: 422, detail: "no" });

/** Places one order against a server that gives these answers in turn, the last one for ever. */
async function placed(answers) {
  const sent = [];
  const waits = [];
  let clock = 0;
  const post = async (order) => {
    const answer = answers[Math.min(sent.length, answers.length - 1)];
    sent.push(order);
    if (answer instanceof Problem) throw answer;
    return answer;
  };
  const sleep = async (ms) => {
    waits.push(ms);
    clock += ms;
  };
  const outcome = await place(attemptFor(undefined, CONTENT), { post, sleep, onWait: () => {}, now: () => clock });
  return { outcome, sent, waits };
}

const cases = [
  ["an answer at once", [{ receipt: "r1" }], "placed", 1],
  ["a lost answer", [lost(), { receipt: "r1" }], "placed", 2],
  ["an overload that passes", [busy(), busy(), { receipt: "r1" }], "placed", 3],
  ["a refusal", [refused()], "refused", 1],
  ["a refusal after a lost answer", [lost(), refused()], "refused", 2],
  ["no answer at all", [lost()], "unknown", 5],
];

for (const [name, answers, kind, times] of cases) {
  test(`placing with ${name}: ${kind}, under one id`, async () => {
    const { outcome, sent } = await placed(answers);
    assert.equal(outcome.kind, kind);
    assert.equal(sent.length, times);
    assert.equal(new Set(sent.map((order) => JSON.stringify(order))).size, 1);
  });
}

test("the server's wish for a pause is followed, unless it is longer than anyone would wait", async () => {
  assert.deepEqual((await placed([busy(), { receipt: "r" }])).waits, [1_000]);
  const { outcome, waits } = await placed([new Problem({ status: 429, retryAfterMs: 3_600_000 })]);
  assert.deepEqual([outcome.kind, waits], ["unknown", []]);
});

test("an attempt is repeated for the same content only", () => {
  const open = attemptFor(undefined, CONTENT);
  assert.equal(attemptFor(open, { ...CONTENT }), open);
  for (const other of [{ itemPrice: "3.21" }, { itemLabel: "tea" }, { customerId: "bob" }]) {
    assert.notEqual(attemptFor(open, { ...CONTENT, ...other }).order.orderId, open.order.orderId);
  }
  assert.match(open.order.orderId, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});
