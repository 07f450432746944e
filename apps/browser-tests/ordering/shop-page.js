// What a customer does and sees on the page, for the tests to speak in.

import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";

const POLL_MS = 50;
const POLLS_MAX = 300;

/** The address of a customer's shop. */
export function shopOf(server, customer) {
  return `${server.url}?${new URLSearchParams({ customer })}`;
}

export async function fillOrder(page, label, price) {
  await page.getByLabel("Item").fill(label);
  await page.getByLabel("Price").fill(price);
}

export function submit(page) {
  return page.getByRole("button", { name: /Place order|Send again/ }).click();
}

/** Orders something and waits until the page says that it did. */
export async function order(page, label, price) {
  await fillOrder(page, label, price);
  await submit(page);
  await page.locator(".notice.good").waitFor();
  await eventually(() => page.getByLabel("Item").inputValue(), "");
}

/** Waits until the three groups hold exactly these items: `{cheap: {Tea: 2}}`. */
export function showsItems(page, expected) {
  return eventually(() => itemsOn(page), { cheap: {}, affordable: {}, expensive: {}, ...expected });
}

/** Waits until the money spent in the three groups reads so. */
export function showsSpent(page, cheap, affordable, expensive) {
  return eventually(() => page.locator(".spent strong").allTextContents(), [cheap, affordable, expensive]);
}

/** Waits until the complaints beside the fields are these, by the field's label. */
export async function complains(page, complaints) {
  const found = await eventuallyMatches(() => problemsOn(page), complaints);
  for (const label of Object.keys(found)) assert.equal(await page.getByLabel(label).getAttribute("aria-invalid"), "true");
}

/** Asks until the answer is the one expected; after a bounded time it fails with the difference. */
export async function eventually(ask, expected) {
  let answer;
  for (let polls = 0; polls < POLLS_MAX; polls += 1) {
    answer = await ask();
    if (isDeepEqual(answer, expected)) return answer;
    await pause(POLL_MS);
  }
  assert.deepEqual(answer, expected);
}

async function eventuallyMatches(ask, patterns) {
  const isMatch = (answer) =>
    isDeepEqual(Object.keys(answer).sort(), Object.keys(patterns).sort()) &&
    Object.entries(patterns).every(([name, pattern]) => pattern.test(answer[name]));
  let answer;
  for (let polls = 0; polls < POLLS_MAX; polls += 1) {
    answer = await ask();
    if (isMatch(answer)) return answer;
    await pause(POLL_MS);
  }
  assert.fail(`expected complaints ${JSON.stringify(Object.keys(patterns))}, got ${JSON.stringify(answer)}`);
}

// The label is tied to its complaint as a screen reader finds it: by the description of the input.
function problemsOn(page) {
  return page.evaluate(() =>
    Object.fromEntries(
      [...document.querySelectorAll("input[aria-describedby]")].map((input) => [
        document.querySelector(`label[for="${input.id}"]`).textContent,
        input.getAttribute("aria-describedby").split(" ").map((id) => document.getElementById(id).textContent).join(" "),
      ]),
    ),
  );
}

function itemsOn(page) {
  return page.evaluate(() => {
    const itemOf = (row) => [
      row.querySelector(".label").textContent,
      Number(row.querySelector(".quantity").textContent.replace(/\D/g, "")),
    ];
    const groups = [...document.querySelectorAll("[data-group]")];
    return Object.fromEntries(groups.map((group) => [group.dataset.group, Object.fromEntries([...group.querySelectorAll("li")].map(itemOf))]));
  });
}

function isDeepEqual(a, b) {
  try {
    assert.deepEqual(a, b);
    return true;
  } catch {
    return false;
  }
}
