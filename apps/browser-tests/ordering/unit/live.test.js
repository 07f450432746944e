import assert from "node:assert/strict";
import { test } from "node:test";
import { Problem } from "../../../ordering/web/api.js";
import { follow } from "../../../ordering/web/live.js";

const BACKOFF = { firstMs: 5, maxMs: 20 };
const WAIT_MS_MAX = 5_000;

const events = (...ids) => ids.map((id) => `id: ${id}\nevent: change\ndata: {}\n\n`).join("");

/** One connection: the text it brings, and whether it then ends or falls silent. */
function connection({ text = "", ends = true }) {
  return (signal) =>
    new Response(
      new ReadableStream({
        start(controller) {
          signal.addEventListener("abort", () => {
            try {
              controller.error(signal.reason);
            } catch {
              // The stream had ended already.
            }
          });
          if (text) controller.enqueue(new TextEncoder().encode(text));
          if (ends) controller.close();
        },
      }),
    );
}

/** Follows a server that gives these connections in turn, until what was seen satisfies `until`. */
async function followed(connections, until, act = () => {}) {
  const seen = { links: [], ids: [], resumedFrom: [] };
  const openStream = async (_, { lastEventId, signal }) => {
    const next = connections[Math.min(seen.resumedFrom.length, connections.length - 1)];
    seen.resumedFrom.push(lastEventId);
    if (next instanceof Problem) throw next;
    return connection(next)(signal);
  };
  await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`not reached: ${JSON.stringify(seen)}`)), WAIT_MS_MAX);
    const check = () => {
      act(seen, live);
      if (!until(seen)) return;
      clearTimeout(timer);
      live.stop();
      resolve();
    };
    const live = follow("ada", {
      onEvents: (run) => (seen.ids.push(...run.map(({ id }) => id)), queueMicrotask(check)),
      onLink: (state) => (seen.links.push(state), queueMicrotask(check)),
      openStream,
      silenceMsMax: 50,
      backoff: BACKOFF,
    });
  });
  return seen;
}

test("a stream that ends is resumed after the last event delivered", async () => {
  const seen = await followed([{ text: events(1, 2) }, { text: events(3), ends: false }], ({ ids }) => ids.length === 3);
  assert.deepEqual(seen.ids, ["1", "2", "3"]);
  assert.deepEqual(seen.resumedFrom, [undefined, "2"]);
  assert.deepEqual(seen.links, ["connecting", "live", "retrying", "live"]);
});

test("a link is called lost once the first retry has failed, and live again afterwards", async () => {
  const seen = await followed(
    [{ text: events(1) }, new Problem({}), new Problem({ status: 503 }), { ends: false }],
    ({ links }) => links.includes("lost") && links.at(-1) === "live",
  );
  assert.deepEqual(seen.links, ["connecting", "live", "retrying", "lost", "live"]);
  assert.deepEqual(seen.resumedFrom, [undefined, "1", "1", "1"]);
});

test("silence counts as a broken link", async () => {
  const seen = await followed([{ text: events(1), ends: false }, { text: events(2), ends: false }], ({ ids }) => ids.length === 2);
  assert.deepEqual(seen.resumedFrom, [undefined, "1"]);
});

test("a customer the server refuses ends it, without retries", async () => {
  const refusal = new Problem({ status: 400, detail: "no" });
  const seen = await followed([refusal], ({ links }) => links.includes("refused"));
  assert.deepEqual(seen.resumedFrom, [undefined]);
});

test("a position the server refuses is forgotten, and everything asked for again", async () => {
  const seen = await followed(
    [{ text: events(9) }, new Problem({ status: 400 }), { text: events(1), ends: false }],
    ({ ids }) => ids.length === 2,
  );
  assert.deepEqual(seen.resumedFrom, [undefined, "9", undefined]);
  assert.ok(!seen.links.includes("refused"));
});

test("out of sight the stream is closed, and resumed where it was", async () => {
  let turns = 0;
  const away = ({ ids }, live) => {
    if (ids.length !== 1 || turns++ > 0) return;
    live.pause();
    setTimeout(live.resume, 20);
  };
  const seen = await followed([{ text: events(1), ends: false }, { text: events(2), ends: false }], ({ ids }) => ids.length === 2, away);
  assert.deepEqual(seen.links, ["connecting", "live"], "nobody is told of a pause");
  assert.deepEqual(seen.resumedFrom, [undefined, "1"]);
});
