// The ordering service over HTTP: each function is one request, and fails with a `Problem` or not at all.
//
// A problem says whether the same request may simply be sent again: after no answer, an overload or a server's own
// fault it may, after a refusal it may not.

const ANSWER_MS_MAX = 8_000;

/** Why a request has no result: the server's refusal, or no usable answer (`status` 0). */
export class Problem extends Error {
  constructor({ status = 0, detail = "No answer from the shop.", errors = [], retryAfterMs }) {
    super(detail);
    Object.assign(this, { status, detail, errors, retryAfterMs });
  }

  get mayRetry() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

/** Places an order; answers with the receipt. The same id with the same content is one order, however often it is sent. */
export async function placeOrder(order) {
  const response = await request("/orders", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(order),
  });
  return { receipt: response.headers.get("Headwater-Receipt") };
}

/** Whether an order with this id was recorded. */
export async function isRecorded(orderId) {
  try {
    await request(`/orders/${encodeURIComponent(orderId)}`);
    return true;
  } catch (problem) {
    if (problem.status === 404) return false;
    throw problem;
  }
}

/** Money spent, by price group; with a receipt, from a state that includes that order. */
export async function spending(customerId, { receipt, signal } = {}) {
  const headers = receipt ? { "Headwater-After": receipt } : {};
  const response = await request(`/spending?${new URLSearchParams({ customerId })}`, { headers, signal });
  const rows = await response.json();
  return new Map(rows.map(({ price, total }) => [price, total]));
}

/** Opens the stream of a customer's items; the caller reads the body and ends it with the signal. */
export function openStream(customerId, { lastEventId, signal }) {
  const headers = { Accept: "text/event-stream", ...(lastEventId && { "Last-Event-ID": lastEventId }) };
  return answered(fetch(`/orders/stream?${new URLSearchParams({ customerId })}`, { headers, signal, cache: "no-store" }));
}

function request(path, { signal, ...options } = {}) {
  const timeout = AbortSignal.timeout(ANSWER_MS_MAX);
  return answered(fetch(path, { ...options, signal: signal ? AbortSignal.any([signal, timeout]) : timeout }));
}

async function answered(fetching) {
  const response = await fetching.catch(() => {
    throw new Problem({});
  });
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  throw new Problem({
    status: response.status,
    detail: body.detail ?? body.title ?? `The shop answered with status ${response.status}.`,
    errors: fieldErrors(body),
    retryAfterMs: Number(response.headers.get("Retry-After")) * 1000 || undefined,
  });
}

function fieldErrors({ errors, field, detail }) {
  if (Array.isArray(errors) && errors.length > 0) return errors;
  return field ? [{ field, detail }] : [];
}
