// Ordering and seeing: grouping, live changes, what is refused, and that nothing is ordered twice.

import assert from "node:assert/strict";
import { test } from "node:test";
import { withApp } from "../../app.js";
import { closeWindow, openWindow } from "../../browser.js";
import { complains, eventually, fillOrder, order, shopOf, showsItems, showsSpent, submit } from "../shop-page.js";

const running = withApp("ordering");

/** Runs a test in a window of a customer of its own. */
function inShop(name, customer, body) {
  test(name, async () => {
    const page = await openWindow(running.browser, shopOf(running.server, customer));
    await body(page, customer);
    await closeWindow(page);
  });
}

inShop("orders appear in the group of their price, with quantities and money", "grouping", async (page) => {
  await showsItems(page, {});
  await order(page, "Tea", "4.99");
  await order(page, "Cup", "5");
  await order(page, "Jug", "£50.00");
  await order(page, "Lamp", "50.01");
  await order(page, "Tea", "3.50");
  await order(page, "Sample", "0");
  await showsItems(page, { cheap: { Tea: 2, Sample: 1 }, affordable: { Cup: 1, Jug: 1 }, expensive: { Lamp: 1 } });
  await showsSpent(page, "£8.49", "£55.00", "£50.01");
  await eventually(() => page.locator(".summary").textContent(), "6 items for £113.50");
});

inShop("a second window sees each order at once", "two windows", async (page, customer) => {
  const second = await openWindow(running.browser, shopOf(running.server, customer));
  await showsItems(second, {});
  await order(page, "Kettle", "39");
  await showsItems(second, { affordable: { Kettle: 1 } });
  await order(second, "Kettle", "39.00");
  await showsItems(page, { affordable: { Kettle: 2 } });
  await showsSpent(page, "£0.00", "£78.00", "£0.00");
  await showsSpent(second, "£0.00", "£78.00", "£0.00");
  assert.match(await page.locator("p[role=status]").textContent(), /Kettle: 2, affordable/);
  await closeWindow(second);
});

inShop("money that is counted later than the items is still shown", "late money", async (page) => {
  await showsSpent(page, "£0.00", "£0.00", "£0.00");
  let late = 2;
  await page.route("**/spending?*", (route) => (late-- > 0 ? route.fulfill({ json: [] }) : route.continue()));
  await order(page, "Kettle", "39");
  await showsSpent(page, "£0.00", "£39.00", "£0.00");
});

inShop("another customer's orders are not shown", "one of two", async (page) => {
  const other = await openWindow(running.browser, shopOf(running.server, "two of two"));
  await order(other, "Hat", "20");
  await order(page, "Scarf", "20");
  await showsItems(page, { affordable: { Scarf: 1 } });
  await showsItems(other, { affordable: { Hat: 1 } });
  await closeWindow(other);
});

const labels = [
  ["emoji", "🫖 Teapot 👩‍👩‍👧", "🫖 Teapot 👩‍👩‍👧"],
  ["right to left", "إبريق شاي", "إبريق شاي"],
  ["200 characters of four bytes", "🫖".repeat(200), "🫖".repeat(200)],
  ["markup", "<b>&amp;</b><img src=x onerror=alert(1)>", "<b>&amp;</b><img src=x onerror=alert(1)>"],
  ["decomposed, between spaces", "  cafe\u0301  ", "caf\u00e9"],
];

for (const [name, label, shown] of labels) {
  inShop(`a label is shown as it is: ${name}`, `labels, ${name}`, async (page) => {
    await order(page, label, "2");
    await showsItems(page, { cheap: { [shown]: 1 } });
  });
}

const refusals = [
  ["both fields empty", "", "", { Item: /Enter what/, Price: /Enter a price/ }],
  ["an item of 10 kB", "x".repeat(10_240), "1", { Item: /at most 200 characters; this has 10,240/ }],
  ["a control character", "Tea\u0007", "1", { Item: /control characters/ }],
  ["three decimals", "Tea", "1.005", { Price: /at most two decimals/ }],
  ["a negative price", "Tea", "-1", { Price: /negative/ }],
  ["not a number", "Tea", "NaN", { Price: /in pounds/ }],
  ["an exponent", "Tea", "1e400", { Price: /in pounds/ }],
  ["a price beyond counting, refused by the server", "Tea", "9".repeat(60), { Price: /./ }],
];

for (const [name, label, price, complaints] of refusals) {
  inShop(`bad input is complained about beside its field: ${name}`, `refusals, ${name}`, async (page) => {
    await fillOrder(page, label, price);
    await submit(page);
    await complains(page, complaints);
    const [first] = Object.keys(complaints);
    await eventually(() => page.evaluate(() => document.activeElement.id), first === "Item" ? "label" : "price");
    assert.equal(await page.getByLabel("Item").inputValue(), label, "the input is kept");
    assert.equal(await page.getByLabel("Price").inputValue(), price, "the input is kept");
    await order(page, "Tea", "1");
    await complains(page, {});
    await showsItems(page, { cheap: { Tea: 1 } });
  });
}

const tampered = [
  ["an empty item", { itemLabel: " " }, { Item: /./ }],
  ["an item of 10 kB", { itemLabel: "x".repeat(10_240) }, { Item: /./ }],
  ["a price as null", { itemPrice: null }, { Price: /./ }],
  ["both", { itemLabel: "", itemPrice: "free" }, { Item: /./, Price: /./ }],
];

for (const [name, change, complaints] of tampered) {
  inShop(`what only the server refuses stands beside its field too: ${name}`, `tampered, ${name}`, async (page) => {
    await page.route("**/orders", (route) => {
      const postData = JSON.stringify({ ...route.request().postDataJSON(), ...change });
      return route.continue({ postData });
    });
    await fillOrder(page, "Tea", "1");
    await submit(page);
    await complains(page, complaints);
    await showsItems(page, {});
  });
}

const doubles = [
  ["a double click", (page) => page.getByRole("button", { name: "Place order" }).dblclick()],
  ["a double click on a slow link", async (page) => {
    await page.route("**/orders", async (route) => setTimeout(() => route.continue(), 300));
    await page.getByRole("button", { name: "Place order" }).dblclick();
  }],
  ["a double click answered in between", async (page) => {
    const { x, y, width, height } = await page.getByRole("button", { name: "Place order" }).boundingBox();
    await page.mouse.click(x + width / 2, y + height / 2);
    await page.locator(".notice.good").waitFor();
    await page.mouse.down({ clickCount: 2 });
    await page.mouse.up({ clickCount: 2 });
  }],
  ["two submits at once", (page) => page.evaluate(() => {
    const form = document.querySelector("form.order");
    form.requestSubmit();
    form.requestSubmit();
  })],
  ["enter held down", async (page) => {
    await page.getByLabel("Price").focus();
    await page.keyboard.down("Enter");
    for (let repeat = 0; repeat < 5; repeat += 1) await page.keyboard.down("Enter");
    await page.keyboard.up("Enter");
  }],
  ["an answer that is lost", async (page) => {
    let lost = 0;
    await page.route("**/orders", async (route) => {
      if (lost++ > 0) return route.continue();
      await route.fetch();
      await route.abort("connectionreset");
    });
    await submit(page);
  }],
];

for (const [name, act] of doubles) {
  inShop(`${name} orders once`, `once, ${name}`, async (page) => {
    await fillOrder(page, "Clock", "80");
    await act(page);
    await page.locator(".notice.good").waitFor();
    await showsItems(page, { expensive: { Clock: 1 } });
    await complains(page, {});
    await order(page, "Clock", "80");
    await showsItems(page, { expensive: { Clock: 2 } });
  });
}

test("an overloaded shop is asked again, and the input stays until it answers", async () => {
  const page = await openWindow(running.browser, shopOf(running.server, "overload"));
  let refused = 0;
  await page.route("**/orders", (route) =>
    refused++ > 1 ? route.continue() : route.fulfill({ status: 503, headers: { "Retry-After": "1" }, json: {} }));
  await fillOrder(page, "Desk", "120");
  await submit(page);
  await page.getByText("The shop is busy. Trying again…").waitFor();
  assert.equal(await page.getByLabel("Item").inputValue(), "Desk");
  await page.getByText("Ordered Desk for £120.00.").waitFor();
  await showsItems(page, { expensive: { Desk: 1 } });
  await closeWindow(page);
});

test("a customer is asked for once, kept in the address, and remembered", async () => {
  const page = await openWindow(running.browser, running.server.url);
  await page.getByRole("button", { name: "Continue" }).click();
  await complains(page, { Customer: /Enter a customer/ });
  await page.getByLabel("Customer").fill("  Zoë & Co ");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Ordered so far" }).waitFor();
  assert.equal(new URL(page.url()).searchParams.get("customer"), "Zoë & Co");
  await order(page, "Pen", "1.20");

  await page.goto(running.server.url);
  await showsItems(page, { cheap: { Pen: 1 } });
  assert.equal(new URL(page.url()).searchParams.get("customer"), "Zoë & Co");

  await fillOrder(page, "Half typed", "7");
  await page.getByRole("button", { name: "Change customer" }).click();
  await page.keyboard.press("Escape");
  assert.equal(await page.getByLabel("Item").inputValue(), "Half typed", "looking away loses nothing");
  await page.getByRole("button", { name: "Change customer" }).click();
  await page.getByLabel("Customer").fill("Someone else");
  await page.getByRole("button", { name: "Continue" }).click();
  await showsItems(page, {});
  await page.goBack();
  await showsItems(page, { cheap: { Pen: 1 } });
  await page.getByRole("button", { name: "Change customer" }).click();
  await page.getByRole("button", { name: "Someone else" }).click();
  await eventually(() => page.title(), "Someone else · Ordering");
  await closeWindow(page);
});

const noCustomers = [["too long", "x".repeat(101)], ["with a control character", "a\u0007b"]];

for (const [name, customer] of noCustomers) {
  test(`an address with a customer that cannot be is answered beside the field: ${name}`, async () => {
    const page = await openWindow(running.browser, shopOf(running.server, customer));
    await complains(page, { Customer: /./ });
    await page.getByLabel("Customer").fill("Ada");
    await page.getByRole("button", { name: "Continue" }).click();
    await showsItems(page, {});
    await page.goto(running.server.url);
    await eventually(() => page.title(), "Ada · Ordering");
    await closeWindow(page);
  });
}

test("many items stay usable: the first are shown, the rest on request", async () => {
  const page = await openWindow(running.browser, shopOf(running.server, "many"));
  const posts = Array.from({ length: 230 }, (_, i) => ({ customerId: "many", itemLabel: `Bead ${i}`, itemPrice: 1 }));
  for (const body of posts) await page.request.post(`${running.server.url}orders`, { data: body });
  await page.getByRole("button", { name: "Show all 230" }).click();
  await eventually(() => page.locator("[data-group=cheap] li").count(), 230);
  await showsSpent(page, "£230.00", "£0.00", "£0.00");
  await closeWindow(page);
});
