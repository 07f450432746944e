// Follows a customer's items: keeps one event stream open, resumes it where it broke, and says how the link is.
//
// Invariants: at most one request is open; an event id is remembered only once its event was delivered, so a resumed
// stream misses nothing; silence longer than several keep-alives counts as a broken link; waits are bounded.
//
// Link states: "connecting" before the first answer, "live", "retrying" right after a break (usually over before
// anyone needs to know), "lost" once the first retry has failed too, and "refused" for good.

import { openStream as open } from "./api.js";
import { backoffMs, sleeper } from "./backoff.js";
import { eventParser } from "./events.js";

const ANSWER_MS_MAX = 10_000;
const SILENCE_MS_MAX = 25_000;
const RETRY_AFTER_MS_MAX = 60_000;
const BACKOFF = { firstMs: 250, maxMs: 15_000 };

/**
 * Starts following. `onEvents` gets runs of parsed events, `onLink` each new link state with the problem behind it.
 * Answers with controls: `retry` ends a wait, `pause` closes the stream until `resume`, `stop` ends it for good.
 */
export function follow(customerId, { onEvents, onLink, openStream = open, silenceMsMax = SILENCE_MS_MAX, backoff = BACKOFF }) {
  const { sleep, wake } = sleeper();
  let stopped = false;
  let paused = false;
  let lastEventId;
  let failures = 0;
  let link;
  let connection = new AbortController();
  let resumed = () => {};

  async function run() {
    tell("connecting");
    while (!stopped) {
      if (paused) await new Promise((resolve) => (resumed = resolve));
      else await connectAndRecover();
    }
  }

  async function connectAndRecover() {
    const problem = await readOneStream().then(() => undefined, (problem) => problem);
    if (stopped || paused) return;
    if (isRefusal(problem)) return refuse(problem);
    tell(failures === 0 ? "retrying" : "lost", problem);
    await sleep(Math.min(problem?.retryAfterMs ?? backoffMs(failures, backoff), RETRY_AFTER_MS_MAX));
    failures += 1;
  }

  // A stream that ends without an error ended because the server stopped: that is a break like any other.
  async function readOneStream() {
    connection = new AbortController();
    const silence = silenceWatch(connection);
    try {
      silence.allow(Math.min(ANSWER_MS_MAX, silenceMsMax));
      const response = await openStream(customerId, { lastEventId, signal: connection.signal });
      silence.allow(silenceMsMax);
      reached();
      const feed = eventParser();
      for await (const chunk of chunks(response.body)) {
        if (stopped) return;
        silence.allow(silenceMsMax);
        deliver(feed(chunk));
      }
    } finally {
      silence.end();
      connection.abort();
    }
  }

  function reached() {
    failures = 0;
    tell("live");
  }

  function tell(state, problem) {
    if (stopped || state === link) return;
    link = state;
    onLink(state, problem);
  }

  function deliver(events) {
    if (events.length === 0) return;
    onEvents(events);
    lastEventId = events.at(-1).id ?? lastEventId;
  }

  // A position may be refused where the stream itself would not be: after a server's data was replaced, say.
  function refuse(problem) {
    if (lastEventId === undefined) {
      tell("refused", problem);
      stopped = true;
    }
    lastEventId = undefined;
  }

  function pause() {
    paused = true;
    connection.abort();
    wake();
  }

  function resume() {
    paused = false;
    resumed();
    wake();
  }

  function stop() {
    stopped = true;
    connection.abort();
    resume();
  }

  run();
  return { retry: wake, pause, resume, stop };
}

// Only what is wrong with the request itself is final; a server that lacks this resource may gain it by a restart.
function isRefusal(problem) {
  return problem?.status === 400 || problem?.status === 422;
}

/** Aborts the connection when nothing, not even a comment, was heard for longer than was last allowed. */
function silenceWatch(connection) {
  let timer;
  const end = () => clearTimeout(timer);
  const allow = (ms) => {
    end();
    timer = setTimeout(() => connection.abort(), ms);
  };
  return { allow, end };
}

async function* chunks(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
}
