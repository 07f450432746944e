// The ordered items of one customer as this window knows them: a pure value, replaced by every reset and change.
//
// The server groups and counts; nothing here knows which price belongs to which group.

export const GROUPS = [
  { price: "cheap", title: "Cheap", range: "below £5" },
  { price: "affordable", title: "Affordable", range: "£5 to £50" },
  { price: "expensive", title: "Expensive", range: "above £50" },
];

/** The basket after events of the stream, and the changes among them; a basket is undefined until its first reset. */
export function afterEvents(basket, events) {
  const resetAt = events.findLastIndex(({ event }) => event === "reset");
  const base = resetAt < 0 ? basket : basketOf(JSON.parse(events[resetAt].data));
  const changes = events.slice(resetAt + 1).filter(({ event }) => event === "change").map(({ data }) => JSON.parse(data));
  return { basket: changes.length > 0 && base ? changed(base, changes) : base, changes };
}

/** The items of one group, by label. */
export function itemsOf(basket, price) {
  return [...basket.items.values()].filter((item) => item.price === price).sort(byLabel);
}

/** How many items were ordered, each counted as often as it was. */
export function quantityOf(items) {
  return items.reduce((sum, item) => sum + item.quantity, 0);
}

/** What a screen reader is told about a run of changes. */
export function spoken(changes) {
  if (changes.length > 3) return `${changes.length} changes to the ordered items.`;
  return changes.map(({ label, price, quantity }) => `${label}: ${quantity}, ${price}.`).join(" ");
}

// All items at once, as a reset brings them.
function basketOf(items) {
  return { items: new Map(items.map((item) => [keyOf(item), { ...item, revision: 0 }])), revision: 0 };
}

// A quantity of zero removes an item; the revision marks what changed last.
function changed(basket, changes) {
  const items = new Map(basket.items);
  const revision = basket.revision + 1;
  for (const change of changes) {
    if (change.quantity === 0) items.delete(keyOf(change));
    else items.set(keyOf(change), { ...change, revision });
  }
  return { items, revision };
}

// Neither part may contain a control character, so the key is unambiguous.
function keyOf({ label, price }) {
  return `${price}\n${label}`;
}

const collator = new Intl.Collator("en-GB", { numeric: true });

function byLabel(a, b) {
  return collator.compare(a.label, b.label);
}
