// Places an order once, whatever the network does.
//
// Invariants: an attempt fixes the order's id together with its content before anything is sent, and is kept in this
// window's storage until its outcome is known; sending the same content again reuses the attempt, so a double click,
// a lost answer or a reload never orders twice.

import { placeOrder } from "./api.js";
import { backoffMs } from "./backoff.js";
import { kept } from "./storage.js";

const TRIES_MAX = 5;
const PLACING_MS_MAX = 15_000;
const BACKOFF = { firstMs: 400, maxMs: 4_000 };

const attempts = kept(() => sessionStorage, "attempt");

/** The customer's attempt whose outcome is not known yet, if there is one. */
export function openAttempt(customerId) {
  const attempt = attempts.read();
  return attempt?.order.customerId === customerId ? attempt : undefined;
}

/** The attempt to send this content under: the open one if it has the same content, else a new one. */
export function attemptFor(open, content) {
  if (open && isSameContent(open, content)) return open;
  return { order: { orderId: newId(), ...content } };
}

export function isSameContent({ order }, content) {
  return Object.keys(content).every((name) => order[name] === content[name]);
}

/** Forgets an attempt whose outcome became known. */
export function settle(attempt) {
  if (attempts.read()?.order.orderId === attempt.order.orderId) attempts.clear();
}

/**
 * Sends an attempt until there is an answer, or for a bounded time: `placed` with a receipt, `refused` or `unknown`
 * with the problem. `onWait` hears why each retry is needed.
 */
export async function place(attempt, { onWait, sleep, post = placeOrder, now = Date.now }) {
  attempts.write(attempt);
  const outcome = await sendUntilAnswered(attempt.order, { onWait, sleep, post, deadline: now() + PLACING_MS_MAX, now });
  if (outcome.kind !== "unknown") settle(attempt);
  return outcome;
}

async function sendUntilAnswered(order, { onWait, sleep, post, deadline, now }) {
  for (let tries = 1; ; tries += 1) {
    const outcome = await send(order, post);
    if (outcome.kind !== "unknown") return outcome;
    const waitMs = outcome.problem.retryAfterMs ?? backoffMs(tries - 1, BACKOFF);
    if (tries === TRIES_MAX || now() + waitMs > deadline) return outcome;
    onWait(outcome.problem);
    await sleep(waitMs);
  }
}

async function send(order, post) {
  try {
    return { kind: "placed", ...(await post(order)) };
  } catch (problem) {
    return { kind: problem.mayRetry ? "unknown" : "refused", problem };
  }
}

// `crypto.randomUUID` exists on secure origins only, and a shop on a home network is not one.
function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
