// A stand-in for the ordering binary while the page is being worked on: the same API, the same files, the same two flags.
//
// It is for development only and promises nothing about speed or about many customers.

import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname } from "node:path";
import { parseArgs } from "node:util";
import { Refusal, openShop, pounds, textProblems } from "./shop.js";

const POLICY = "default-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:";
const KEEP_ALIVE_MS = 10_000;
const BODY_BYTES_MAX = 64 * 1024;
const TYPES = { ".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml" };

const { values } = parseArgs({ options: { listen: { type: "string" }, data: { type: "string" } } });
const shop = openShop(values.data);
const [host, port] = values.listen.split(":");

const routes = [
  ["POST", /^\/orders$/, postOrder],
  ["GET", /^\/orders$/, getItems],
  ["GET", /^\/orders\/stream$/, getStream],
  ["GET", /^\/orders\/(?<id>[^/]+)$/, getOrder],
  ["GET", /^\/spending$/, getSpending],
  ["GET", /^\/(?<file>(vendor\/)?[\w-]+\.(js|css|svg|html))?$/, getFile],
];

createServer(handle).listen(Number(port), host, () => console.log(`ordering is at http://${values.listen}/`));

async function handle(request, response) {
  try {
    await route(request, response);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    const { status, code, detail, errors } = error;
    const body = { type: "about:blank", title: "Refused", status, code, detail, field: errors[0]?.field, errors };
    send(response, status, body, { "Content-Type": "application/problem+json" });
  }
}

function route(request, response) {
  const { pathname, searchParams } = new URL(request.url, "http://mock");
  for (const [method, pattern, handler] of routes) {
    const match = request.method === method && pattern.exec(pathname);
    if (match) return handler({ request, response, query: searchParams, ...match.groups });
  }
  throw new Refusal(404, "not-found", [], `there is no ${pathname}`);
}

async function postOrder({ request, response }) {
  const { orderId, receipt } = shop.place(await jsonBody(request));
  const headers = { Location: `/orders/${orderId}`, "Headwater-Receipt": receipt };
  send(response, 202, { orderId, receipt }, headers);
}

function getOrder({ response, id }) {
  const order = shop.order(decodeURIComponent(id));
  if (!order) throw new Refusal(404, "no-such-order", [], "there is no order of this id");
  const { pence, ...rest } = order;
  send(response, 200, { ...rest, itemPrice: pounds(pence), version: 1 });
}

function getItems({ response, query }) {
  send(response, 200, shop.items(customerOf(query), query.get("price")?.toLowerCase()), position());
}

function getSpending({ response, query }) {
  send(response, 200, shop.spending(customerOf(query)), position());
}

function getStream({ request, response, query }) {
  const customerId = customerOf(query);
  const last = Number(request.headers["last-event-id"] ?? NaN);
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
  response.flushHeaders();
  const tell = (event, data) => response.write(`event: ${event}\nid: ${shop.position()}\ndata: ${JSON.stringify(data)}\n\n`);
  if (last <= shop.position()) shop.changesAfter(customerId, last).forEach((item) => tell("change", item));
  else tell("reset", shop.items(customerId));
  const follower = (order) => order.customerId === customerId && tell("change", shop.itemLike(customerId, order));
  const keepAlive = setInterval(() => response.write(": keep-alive\n\n"), KEEP_ALIVE_MS);
  shop.followers.add(follower);
  response.on("close", () => {
    clearInterval(keepAlive);
    shop.followers.delete(follower);
  });
}

async function getFile({ response, file = "index.html" }) {
  const own = readFile(new URL(`../../../ordering/web/${file}`, import.meta.url));
  const shared = () => readFile(new URL(`../../../web/files/${file}`, import.meta.url));
  const text = await own.catch(shared).catch(() => {
    throw new Refusal(404, "not-found", [], `there is no /${file}`);
  });
  response.writeHead(200, {
    "Content-Type": TYPES[extname(file)],
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-cache",
  });
  response.end(text);
}

function customerOf(query) {
  const customerId = query.get("customerId");
  const problems = textProblems("customerId", customerId, 100);
  if (problems.length > 0) throw new Refusal(400, "invalid-customer", problems);
  return customerId.trim().normalize("NFC");
}

async function jsonBody(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  if (body.length > BODY_BYTES_MAX) throw new Refusal(413, "body-too-large", [], "the body is too large");
  try {
    return JSON.parse(body.toString());
  } catch {
    throw new Refusal(400, "malformed-json", [], "the body is not JSON");
  }
}

function position() {
  return { "Headwater-Position": `p${shop.position()}` };
}

function send(response, status, body, headers = {}) {
  response.writeHead(status, { "Content-Type": "application/json", ...headers });
  response.end(JSON.stringify(body));
}
