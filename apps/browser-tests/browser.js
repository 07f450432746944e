// Chromium, and windows in it that record whatever a page must never do: fail in its console or break its own policy.

import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const WAIT_MS_MAX = 15_000;
const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export function launch() {
  return chromium.launch({ executablePath: CHROMIUM, args: FLAGS, timeout: 60_000 });
}

/** A window of its own, with its own storage. `options` are those of a playwright browser context. */
export async function openWindow(browser, address, options = {}) {
  const context = await browser.newContext({ locale: "en-GB", ...options });
  context.setDefaultTimeout(WAIT_MS_MAX);
  const page = await context.newPage();
  page.faults = faultsOf(page);
  await page.addInitScript(() =>
    document.addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
      console.error(`policy violation: ${violatedDirective} ${blockedURI}`),
    ),
  );
  await page.goto(address);
  return page;
}

/** Asserts that a window has met no fault so far; then closes it. */
export async function closeWindow(page) {
  const faults = [...page.faults];
  await page.context().close();
  assert.deepEqual(faults, []);
}

// Chromium itself reports each failed request as an error. A lost connection and a refused order are part of some
// tests, so these reports alone do not count.
function faultsOf(page) {
  const faults = [];
  page.on("pageerror", (error) => faults.push(`uncaught: ${error.stack}`));
  page.on("console", (message) => {
    const isRequest = message.text().startsWith("Failed to load resource");
    if (["error", "warning"].includes(message.type()) && !isRequest) faults.push(`console: ${message.text()}`);
  });
  return faults;
}
