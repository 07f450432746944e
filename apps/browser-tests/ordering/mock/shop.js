// The orders of the mock: validated, kept in one file, grouped and summed on demand, and told to followers.

import { appendFileSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

export class Refusal extends Error {
  constructor(status, code, errors, detail = errors[0]?.detail) {
    super(detail);
    Object.assign(this, { status, code, errors, detail });
  }
}

/** Opens the shop kept in a directory. */
export function openShop(directory) {
  mkdirSync(directory, { recursive: true });
  const file = join(directory, "orders.jsonl");
  const orders = new Map();
  const log = [];
  const followers = new Set();
  if (existsSync(file)) readFileSync(file, "utf8").split("\n").filter(Boolean).map(JSON.parse).forEach(fold);

  function fold(order) {
    orders.set(order.orderId, order);
    log.push(order);
  }

  function place(request) {
    const order = parse(request);
    const known = orders.get(order.orderId);
    if (known && !isSame(known, order)) throw new Refusal(409, "order-id-taken", [], "another order has this id");
    if (!known) {
      const placed = { ...order, placedAt: new Date().toISOString() };
      appendFileSync(file, `${JSON.stringify(placed)}\n`, { flush: true });
      fold(placed);
      followers.forEach((follower) => follower(placed));
    }
    return { orderId: order.orderId, receipt: `r${log.length}` };
  }

  function items(customerId, price) {
    const own = log.filter((order) => order.customerId === customerId && (!price || groupOf(order) === price));
    return [...grouped(own, (order) => `${groupOf(order)}\n${order.itemLabel}`).values()].map(itemOf);
  }

  /** The changes a customer's items went through after a position. */
  function changesAfter(customerId, position) {
    return log.slice(position).filter((order) => order.customerId === customerId).map((order) => itemLike(customerId, order));
  }

  function itemLike(customerId, { itemLabel, ...order }) {
    return items(customerId, groupOf(order)).find(({ label }) => label === itemLabel);
  }

  function spending(customerId) {
    const own = log.filter((order) => order.customerId === customerId);
    return [...grouped(own, groupOf)].map(([price, orders]) => ({ price, total: pounds(sumOf(orders)) }));
  }

  return {
    place,
    items,
    changesAfter,
    itemLike,
    spending,
    followers,
    position: () => log.length,
    order: (id) => orders.get(id),
  };
}

function parse({ orderId = crypto.randomUUID(), customerId, itemLabel, itemPrice, ...unknown }) {
  const problems = [
    ...Object.keys(unknown).map((field) => ({ field, code: "unknown-field", detail: `there is no field ${field}` })),
    ...textProblems("customerId", customerId, 100),
    ...textProblems("itemLabel", itemLabel, 200),
    ...priceProblems(itemPrice),
  ];
  if (problems.length > 0) throw new Refusal(422, "invalid-order", problems);
  return { orderId, customerId: normal(customerId), itemLabel: normal(itemLabel), pence: penceOf(itemPrice) };
}

/** Complaints about a customer id or a label. */
export function textProblems(field, text, lengthMax) {
  const complaint = (code, detail) => [{ field, code, detail }];
  if (typeof text !== "string" || normal(text) === "") return complaint("required", "must not be empty");
  if ([...normal(text)].length > lengthMax) return complaint("too-long", `must have at most ${lengthMax} characters`);
  if (/\p{Cc}/u.test(normal(text))) return complaint("control-character", "must not contain control characters");
  return [];
}

function priceProblems(price) {
  const isExact = /^\d{1,16}(\.\d{1,2})?$/.test(String(price));
  return isExact ? [] : [{ field: "itemPrice", code: "invalid-price", detail: "must be pounds with at most two decimals" }];
}

function normal(text) {
  return text.trim().normalize("NFC");
}

function penceOf(price) {
  const [whole, part = ""] = String(price).split(".");
  return Number(whole + part.padEnd(2, "0"));
}

export function pounds(pence) {
  return (pence / 100).toFixed(2);
}

function sumOf(orders) {
  return orders.reduce((sum, { pence }) => sum + pence, 0);
}

function groupOf({ pence }) {
  return pence < 500 ? "cheap" : pence <= 5000 ? "affordable" : "expensive";
}

function grouped(orders, keyOf) {
  const groups = new Map();
  for (const order of orders) groups.set(keyOf(order), [...(groups.get(keyOf(order)) ?? []), order]);
  return groups;
}

function itemOf(orders) {
  return { label: orders[0].itemLabel, price: groupOf(orders[0]), quantity: orders.length };
}

function isSame(a, b) {
  return ["customerId", "itemLabel", "pence"].every((name) => a[name] === b[name]);
}
