// Which customer this window orders for: the address says it, and the browser remembers it for the next visit.

import { normalText } from "./rules.js";
import { kept } from "./storage.js";

const RECENT_MAX = 5;
const recent = kept(() => localStorage, "customers");

/** The customer in the address, or else the one of the last visit; nothing on a first visit. */
export function chosenCustomer() {
  const inAddress = normalText(new URLSearchParams(location.search).get("customer") ?? "");
  return inAddress || recentCustomers()[0];
}

/** Customers chosen in this browser, the last one first. */
export function recentCustomers() {
  const customers = recent.read();
  return Array.isArray(customers) ? customers : [];
}

/** Puts a customer into the address and into memory. A choice is a step one can go back from. */
export function choose(customer) {
  remember(customer);
  const address = addressOf(customer);
  if (location.search !== address) history.pushState(null, "", address);
}

/** Makes the address say which customer is shown, without a step to go back to. */
export function settleAddress(customer) {
  remember(customer);
  if (location.search !== addressOf(customer)) history.replaceState(null, "", addressOf(customer));
}

/** Forgets a customer that turned out not to be one. */
export function forget(customer) {
  recent.write(recentCustomers().filter((other) => other !== customer));
}

function remember(customer) {
  const others = recentCustomers().filter((other) => other !== customer);
  recent.write([customer, ...others].slice(0, RECENT_MAX));
}

function addressOf(customer) {
  return `?${new URLSearchParams({ customer })}`;
}
