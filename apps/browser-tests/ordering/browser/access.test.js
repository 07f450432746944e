// For everyone: by keyboard alone, on a phone, in the dark, with little motion, with a screen reader; and safely.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { withApp } from "../../app.js";
import { closeWindow, openWindow } from "../../browser.js";
import { complains, eventually, fillOrder, order, shopOf, showsItems, submit } from "../shop-page.js";

const PHONE = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true };
const AXE = await readFile(new URL("../../node_modules/axe-core/axe.min.js", import.meta.url), "utf8");

const running = withApp("ordering");

test("a customer is chosen and an order placed by keyboard alone", async () => {
  const page = await openWindow(running.browser, running.server.url);
  const press = async (...keys) => {
    for (const key of keys) await page.keyboard.press(key);
  };
  await eventually(() => focused(page), "Customer");
  await page.keyboard.type("Keys");
  await press("Enter");
  await page.getByRole("heading", { name: "Ordered so far" }).waitFor();
  await eventually(() => focused(page), "Item");
  await page.keyboard.type("Lamp");
  await press("Tab");
  assert.equal(await focused(page), "Price");
  await page.keyboard.type("51.50");
  await press("Tab");
  assert.equal(await focused(page), "Place order");
  assert.notEqual(await focusRing(page), "none", "the focus is visible");
  await press("Space");
  await showsItems(page, { expensive: { Lamp: 1 } });
  await press("Shift+Tab", "Shift+Tab");
  await page.keyboard.type("Bulb");
  await press("Tab");
  await page.keyboard.type("3");
  await press("Enter");
  await showsItems(page, { cheap: { Bulb: 1 }, expensive: { Lamp: 1 } });
  await eventually(() => focused(page), "Item");
  await press("Shift+Tab");
  assert.equal(await focused(page), "Change customer");
  await press("Enter");
  await eventually(() => focused(page), "Customer");
  await press("Escape");
  await eventually(() => focused(page), "Change customer");
  await closeWindow(page);
});

test("on a phone nothing is wider than the window, whatever the labels", async () => {
  const customer = "W".repeat(100);
  const page = await openWindow(running.browser, shopOf(running.server, customer), PHONE);
  await assertNoSidewaysScroll(page, "empty");
  await order(page, "W".repeat(200), "4.99");
  await order(page, "إبريق".repeat(40), "12345678.90");
  await fillOrder(page, "x".repeat(10_240), "1.005");
  await submit(page);
  await complains(page, { Item: /./, Price: /./ });
  await assertNoSidewaysScroll(page, "with long labels and complaints");
  await page.getByRole("button", { name: "Change customer" }).tap();
  await assertNoSidewaysScroll(page, "choosing a customer");
  await closeWindow(page);
});

test("touch targets are large enough for a thumb", async () => {
  const page = await openWindow(running.browser, shopOf(running.server, "thumbs"), PHONE);
  await showsItems(page, {});
  for (const box of await page.locator("button, input").evaluateAll((all) => all.map((one) => one.getBoundingClientRect().height))) {
    assert.ok(box >= 44, `a control is ${box} px high`);
  }
  await closeWindow(page);
});

test("the page is dark where the system is", async () => {
  const brightness = {};
  for (const colorScheme of ["light", "dark"]) {
    const page = await openWindow(running.browser, shopOf(running.server, "shades"), { colorScheme });
    brightness[colorScheme] = await page.evaluate(() => {
      const channels = (element, name) => getComputedStyle(element)[name].match(/[\d.]+/g).slice(0, 3).map(Number);
      const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
      return { ground: sum(channels(document.body, "backgroundColor")), ink: sum(channels(document.body, "color")) };
    });
    await closeWindow(page);
  }
  assert.ok(brightness.light.ground > brightness.light.ink, JSON.stringify(brightness));
  assert.ok(brightness.dark.ground < brightness.dark.ink, JSON.stringify(brightness));
});

test("nothing moves where the system asks for less motion", async () => {
  const timing = {};
  for (const reducedMotion of ["no-preference", "reduce"]) {
    const page = await openWindow(running.browser, shopOf(running.server, "motion"), { reducedMotion });
    await order(page, "Fan", "30");
    await page.locator("li.changed").waitFor();
    timing[reducedMotion] = await page.locator("li.changed").evaluate((row) => getComputedStyle(row).animationTimingFunction);
    await closeWindow(page);
  }
  assert.match(timing.reduce, /^steps\(1/);
  assert.doesNotMatch(timing["no-preference"], /^steps/);
});

const states = [
  ["a first visit", "", () => {}],
  ["an empty shop", "nothing yet", (page) => showsItems(page, {})],
  ["orders and a notice", "audited", async (page) => {
    await order(page, "Tea", "2");
    await order(page, "مقلاة", "20");
    await order(page, "Sofa", "900");
  }],
  ["complaints", "audited", async (page) => {
    await submit(page);
    await complains(page, { Item: /./, Price: /./ });
  }],
  ["choosing again", "audited", (page) => page.getByRole("button", { name: "Change customer" }).click()],
  ["a lost connection", "audited", async (page) => {
    await showsItems(page, { cheap: { Tea: 1 }, affordable: { مقلاة: 1 }, expensive: { Sofa: 1 } });
    await page.context().setOffline(true);
    await page.evaluate(() => {
      Object.defineProperty(document, "hidden", { value: true, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
      Object.defineProperty(document, "hidden", { value: false });
      document.dispatchEvent(new Event("visibilitychange"));
    });
    await page.getByText("Connection lost.").waitFor();
    await fillOrder(page, "Rug", "60");
    await submit(page);
    await page.getByText("Trying again…").waitFor();
  }],
];

const looks = [
  ["light", { colorScheme: "light" }],
  ["dark", { colorScheme: "dark" }],
  ["on a phone", PHONE],
];

for (const [look, options] of looks) {
  for (const [state, customer, reach] of states) {
    test(`axe finds nothing serious: ${state}, ${look}`, async () => {
      const address = customer && shopOf(running.server, `${customer} ${look}`);
      const page = await openWindow(running.browser, address || running.server.url, { reducedMotion: "reduce", ...options });
      await reach(page);
      await page.evaluate(AXE);
      const { violations, passes } = await page.evaluate(() => globalThis.axe.run());
      assert.ok(passes.length > 10, "axe looked at something");
      const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
      assert.deepEqual(serious.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]), []);
      await closeWindow(page);
    });
  }
}

test("every file comes with a policy that allows nothing inline and nothing from elsewhere", async () => {
  const page = await openWindow(running.browser, "about:blank");
  const responses = [];
  page.on("response", (response) => responses.push(response));
  await page.goto(shopOf(running.server, "policy"));
  await showsItems(page, {});
  const document = responses.find((response) => response.request().resourceType() === "document");
  const policy = document.headers()["content-security-policy"];
  assert.match(policy, /default-src 'self'/);
  assert.doesNotMatch(policy, /unsafe|\*/);
  for (const response of responses) assert.ok(response.url().startsWith(running.server.url), response.url());
  const files = responses.filter((response) => ["document", "script", "stylesheet", "image"].includes(response.request().resourceType()));
  assert.deepEqual(files.filter((response) => !response.ok()).map((response) => response.url()), []);
  await closeWindow(page);
});

test("the policy is in force: a script put into the page does not run, and is noticed", async () => {
  const page = await openWindow(running.browser, shopOf(running.server, "policy"));
  await page.evaluate(() => {
    const script = document.createElement("script");
    script.textContent = "document.title = 'taken over'";
    document.head.append(script);
  });
  assert.notEqual(await page.title(), "taken over");
  await eventually(() => page.faults.some((fault) => fault.includes("policy violation: script-src-elem inline")), true);
  await page.context().close();
});

function focused(page) {
  return page.evaluate(() => {
    const { activeElement } = document;
    return (activeElement.labels?.[0] ?? activeElement).textContent;
  });
}

function focusRing(page) {
  return page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
}

async function assertNoSidewaysScroll(page, state) {
  const { content, window } = await page.evaluate(() => ({
    content: document.documentElement.scrollWidth,
    window: document.documentElement.clientWidth,
  }));
  assert.equal(window, PHONE.viewport.width, state);
  assert.ok(content <= window, `${state}: ${content} px in a window of ${window} px`);
}
