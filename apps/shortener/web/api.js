// The shortener over HTTP: each function is one request, and fails with a `Problem` or not at all.

const ANSWER_MS_MAX = 8_000;

/** Why a request has no result: the server's refusal, or no usable answer (`status` 0). */
export class Problem extends Error {
  constructor({ status = 0, detail = "No answer from the service.", errors = [] }) {
    super(detail);
    Object.assign(this, { status, errors });
  }
}

/** Makes a link. The same terms again answer the same link. */
export async function makeLink(terms) {
  const headers = { "Content-Type": "application/json" };
  return (await request("/links", { method: "POST", headers, body: JSON.stringify(terms) })).json();
}

/** One link as it is. */
export async function link(code, signal) {
  return (await request(linkPath(code), { signal })).json();
}

/** Has a link lead nowhere; answers a receipt. */
export async function deleteLink(code) {
  return (await request(linkPath(code), { method: "DELETE" })).headers.get("Headwater-Receipt");
}

/** A page of links that contain a text; with a receipt, from a state that includes what it is for. */
export async function links({ search, after, receipt, signal }) {
  const query = new URLSearchParams({ limit: 20, ...(search && { search }), ...(after && { after }) });
  const headers = receipt ? { "Headwater-After": receipt } : {};
  return (await request(`/links?${query}`, { headers, signal })).json();
}

/** Where a link's visits are told as they are counted. */
export function visitsStream(code) {
  return `${linkPath(code)}/visits/stream?by=day`;
}

/** Where a link's QR code is drawn. */
export function qrCode(code) {
  return `${linkPath(code)}/qr.svg`;
}

function linkPath(code) {
  return `/links/${encodeURIComponent(code)}`;
}

async function request(path, { signal, ...options } = {}) {
  const timeout = AbortSignal.timeout(ANSWER_MS_MAX);
  const fetching = fetch(path, { ...options, signal: signal ? AbortSignal.any([signal, timeout]) : timeout });
  const response = await fetching.catch(() => {
    throw new Problem({});
  });
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  throw new Problem({
    status: response.status,
    detail: body.detail ?? body.title ?? `The service answered with status ${response.status}.`,
    errors: body.errors ?? (body.field ? [{ field: body.field, detail: body.detail }] : []),
  });
}
