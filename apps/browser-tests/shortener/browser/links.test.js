// What somebody does who shortens an address, and sees who follows it.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { withApp } from "../../app.js";
import { closeWindow, openWindow } from "../../browser.js";

const AXE = await readFile(new URL("../../node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const PHONE = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true };
const POLLS_MAX = 300;
// The name of the form has the word, too.
const EXACT = { exact: true };

const running = withApp("shortener");

test("an address is shortened, copied, and leads where it should", async () => {
  const page = await openWindow(running.browser, running.server.url, { permissions: ["clipboard-read", "clipboard-write"] });
  await page.getByLabel("Address", EXACT).fill("https://example.com/a b");
  await page.getByRole("button", { name: "Shorten" }).click();
  await page.getByText("Must not contain spaces").waitFor();
  assert.equal(await page.getByLabel("Address", EXACT).getAttribute("aria-invalid"), "true");
  await shorten(page, { Address: "https://bücher.example/{a}#ä", Alias: "buecher" });
  const short = page.getByRole("heading", { name: `${running.server.url}buecher` });
  await short.waitFor();
  await page.getByRole("button", { name: "Copy" }).click();
  await page.getByText("Copied").waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), `${running.server.url}buecher`);
  const response = await fetch(`${running.server.url}buecher`, { redirect: "manual" });
  assert.equal(response.status, 302);
  assert.equal(Buffer.from(response.headers.get("location"), "latin1").toString(), "https://bücher.example/{a}#ä");
  await closeWindow(page);
});

test("the QR code is drawn", async () => {
  await make({ url: "https://example.com/qr", alias: "qr" });
  const page = await openWindow(running.browser, `${running.server.url}#qr`);
  const picture = page.getByAltText(`QR code of ${running.server.url}qr`);
  await picture.waitFor();
  await eventually(() => picture.evaluate((image) => image.complete && image.naturalWidth > 0), true);
  await closeWindow(page);
});

test("visits are counted before one's eyes, also after the server was killed", async () => {
  await make({ url: "https://example.com/live", alias: "live" });
  const page = await openWindow(running.browser, `${running.server.url}#live`);
  await eventually(() => page.locator(".total").textContent(), "0");
  for (let visits = 1; visits <= 3; visits += 1) {
    await visit("live");
    await eventually(() => page.locator(".total").textContent(), String(visits));
    const inTheList = page.getByRole("button", { name: /^live / }).locator(".count");
    await eventually(() => inTheList.textContent(), visits === 1 ? "1 visit" : `${visits} visits`);
  }
  const today = new Date().toISOString().slice(0, 10);
  await eventually(() => page.locator(`rect[data-day="${today}"]`).getAttribute("data-visits"), "3");
  await running.server.kill();
  await running.server.restart();
  await visit("live");
  await eventually(() => page.locator(".total").textContent(), "4");
  await closeWindow(page);
});

test("links are listed, searched, looked at and deleted", async () => {
  for (let n = 0; n < 25; n += 1) await make({ url: `https://example.com/page/${n}`, alias: `page-${n}` });
  const page = await openWindow(running.browser, running.server.url);
  await page.getByLabel("Search").fill("PAGE-2");
  await eventually(() => codes(page), ["page-2", "page-20", "page-21", "page-22", "page-23", "page-24"]);
  await page.getByLabel("Search").fill("page/");
  await eventually(async () => (await codes(page)).length, 20);
  await page.getByRole("button", { name: "More" }).click();
  await eventually(async () => (await codes(page)).length, 25);
  await page.getByLabel("Search").fill("page/24");
  await eventually(() => codes(page), ["page-24"]);
  await page.getByRole("button", { name: /page-24/ }).click();
  await page.getByRole("heading", { name: `${running.server.url}page-24` }).waitFor();
  await page.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("button", { name: "Delete it for good?" }).click();
  await page.getByText("Nothing contains that.").waitFor();
  assert.equal((await fetch(`${running.server.url}page-24`, { redirect: "manual" })).status, 410);
  await closeWindow(page);
});

test("a link with limits says what is left of it", async () => {
  await make({ url: "https://example.com/limited", alias: "limited", maxVisits: 2 });
  await visit("limited");
  const page = await openWindow(running.browser, `${running.server.url}#limited`);
  await page.getByText("Live · 1 of 2 visits left").waitFor();
  await visit("limited");
  await page.reload();
  await page.getByText("Had all its visits").waitFor();
  await closeWindow(page);
});

test("the page draws how visits are counted", async () => {
  const page = await openWindow(running.browser, running.server.url);
  await page.getByText("How visits are counted").click();
  const picture = page.getByAltText("The app's topics, operators and views");
  await eventually(() => picture.evaluate((image) => image.complete && image.naturalWidth > 100), true);
  await closeWindow(page);
});

for (const [name, options] of Object.entries({ desk: {}, dark: { colorScheme: "dark" }, phone: PHONE })) {
  test(`everybody can use it: ${name}`, async () => {
    await make({ url: `https://example.com/${"w".repeat(500)}`, alias: "w".repeat(50) });
    const page = await openWindow(running.browser, `${running.server.url}#${"w".repeat(50)}`, options);
    await page.locator(".total").waitFor();
    await page.getByText("Options").click();
    await page.getByLabel("Address", EXACT).fill("nowhere");
    await page.getByRole("button", { name: "Shorten" }).click();
    await page.locator(".problem").waitFor();
    await page.evaluate(AXE);
    const { violations, passes } = await page.evaluate(() => globalThis.axe.run());
    assert.ok(passes.length > 10, "axe looked at something");
    const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
    assert.deepEqual(serious.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]), []);
    const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
    assert.ok(content <= window, `${content} px in a window of ${window} px`);
    await closeWindow(page);
  });
}

/** Makes a link through the form. */
async function shorten(page, fields) {
  await page.getByText("Options").click();
  for (const [label, text] of Object.entries(fields)) await page.getByLabel(label, EXACT).fill(text);
  await page.getByRole("button", { name: "Shorten" }).click();
  await page.getByText("Here is your short link.").waitFor();
}

async function make(link) {
  const headers = { "Content-Type": "application/json" };
  const response = await fetch(`${running.server.url}links`, { method: "POST", headers, body: JSON.stringify(link) });
  assert.equal(response.status, 201);
  // From now on every list has it.
  const after = { "Headwater-After": response.headers.get("Headwater-Receipt"), Prefer: "wait=10" };
  assert.equal((await fetch(`${running.server.url}links?limit=1`, { headers: after })).status, 200);
}

async function visit(code) {
  const response = await fetch(`${running.server.url}${code}`, { redirect: "manual" });
  assert.equal(response.status, 302);
}

function codes(page) {
  return page.locator(".row .short").allTextContents();
}

/** Asks until the answer is the one expected; after a bounded time it fails with the difference. */
async function eventually(ask, expected) {
  let answer;
  for (let polls = 0; polls < POLLS_MAX; polls += 1) {
    answer = await ask();
    if (JSON.stringify(answer) === JSON.stringify(expected)) return;
    await pause(50);
  }
  assert.deepEqual(answer, expected);
}
