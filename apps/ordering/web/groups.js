// The three price groups: what was ordered in each, how often, and the money spent.

import { GROUPS, itemsOf, quantityOf } from "./basket.js";
import { html } from "./html.js";
import { formatPounds, sumPounds } from "./money.js";
import { useMemo, useState } from "./vendor/preact-hooks.js";

const SHOWN_MAX = 200;

/** `basket` and `totals` are undefined until the server has told them. */
export function Groups({ basket, totals }) {
  return html`
    <div class="groups" aria-busy=${basket ? "false" : "true"}>
      ${GROUPS.map((group) => html`<${Group} key=${group.price} ...${group} basket=${basket} totals=${totals} />`)}
    </div>`;
}

/** All groups together: how many items, for how much. */
export function Summary({ basket, totals }) {
  if (!basket || !totals) return html`<p class="summary">Loading…</p>`;
  const quantity = quantityOf([...basket.items.values()]);
  const items = quantity === 1 ? "1 item" : `${quantity.toLocaleString("en-GB")} items`;
  return html`<p class="summary">${items} for ${formatPounds(sumPounds([...totals.values()]))}</p>`;
}

function Group({ price, title, range, basket, totals }) {
  const items = useMemo(() => basket && itemsOf(basket, price), [basket, price]);
  return html`
    <section class=${`group card ${price}`} aria-labelledby=${`${price}-title`} data-group=${price}>
      <header>
        <h2 id=${`${price}-title`}>${title}</h2>
        <p class="range">${range}</p>
        <p class="spent"><strong>${totals ? formatPounds(totals.get(price) ?? "0") : "–"}</strong> spent</p>
      </header>
      <${Items} items=${items} />
    </section>`;
}

function Items({ items }) {
  const [all, setAll] = useState(false);
  if (!items) return html`<p class="empty">Loading…</p>`;
  if (items.length === 0) return html`<p class="empty">Nothing ordered yet.</p>`;
  const shown = all ? items : items.slice(0, SHOWN_MAX);
  return html`
    <ul>${shown.map((item) => html`<${Item} key=${`${item.revision} ${item.label}`} ...${item} />`)}</ul>
    ${shown.length < items.length && html`
      <button class="quiet" type="button" onClick=${() => setAll(true)}>
        Show all ${items.length.toLocaleString("en-GB")}
      </button>`}`;
}

// The key holds the revision: an item that changed is a new element, so its highlight plays again.
function Item({ label, quantity, revision }) {
  return html`
    <li class=${revision > 0 ? "changed" : undefined}>
      <bdi class="label">${label}</bdi>
      <span class="quantity"><span class="unseen">quantity </span><span aria-hidden="true">×</span>${quantity.toLocaleString("en-GB")}</span>
    </li>`;
}
