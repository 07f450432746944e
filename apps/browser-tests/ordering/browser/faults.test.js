// The server killed in the middle: the page says so, keeps what was typed, comes back by itself, and loses nothing.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { closeWindow, launch, openWindow } from "../../browser.js";
import { startServer } from "../../server.js";
import { eventually, fillOrder, order, shopOf, showsItems, showsSpent, submit } from "../shop-page.js";

let browser;

before(async () => (browser = await launch()));
after(() => browser?.close());

/** Runs a test against a server of its own that it may kill. */
function withServer(name, body) {
  test(name, async () => {
    const server = await startServer("ordering");
    try {
      const page = await openWindow(browser, shopOf(server, "faults"));
      await body(page, server);
      await closeWindow(page);
    } finally {
      await server.close();
    }
  });
}

withServer("a killed server is noticed, and a restarted one found again with everything there", async (page, server) => {
  await order(page, "Chair", "45");
  await order(page, "Stool", "15");
  await server.kill();
  await page.getByText("Connection lost.").waitFor();
  await showsItems(page, { affordable: { Chair: 1, Stool: 1 } });
  await eventually(() => page.locator(".link").textContent(), "Not connected");

  await server.restart();
  await page.getByText("Connection lost.").waitFor({ state: "detached" });
  await eventually(() => page.locator("p[role=status]").textContent(), "Connected again.");
  await showsItems(page, { affordable: { Chair: 1, Stool: 1 } });
  await showsSpent(page, "£0.00", "£60.00", "£0.00");
  await order(page, "Chair", "45");
  await showsItems(page, { affordable: { Chair: 2, Stool: 1 } });
});

withServer("what happened while a window was cut off is there when it returns", async (page, server) => {
  await order(page, "Rug", "70");
  await page.context().setOffline(true);
  await server.kill();
  await page.getByText("Connection lost.").waitFor();
  await server.restart();
  const second = await openWindow(browser, shopOf(server, "faults"));
  await order(second, "Rug", "70");
  await closeWindow(second);
  await page.context().setOffline(false);
  await showsItems(page, { expensive: { Rug: 2 } });
  await showsSpent(page, "£0.00", "£0.00", "£140.00");
});

withServer("an order placed while the server is down goes through once it is back", async (page, server) => {
  await showsItems(page, {});
  await server.kill();
  await fillOrder(page, "Vase", "22.50");
  await submit(page);
  await page.getByText("No answer from the shop yet. Trying again…").waitFor();
  await submitAgainWhileSending(page);
  assert.equal(await page.getByLabel("Item").inputValue(), "Vase");
  await server.restart();
  await page.getByText("Ordered Vase for £22.50.").waitFor();
  await showsItems(page, { affordable: { Vase: 1 } });
});

withServer("an order without any answer keeps its input, and is sent again under the same id", async (page, server) => {
  const ids = new Set();
  page.on("request", (request) => request.method() === "POST" && ids.add(request.postDataJSON().orderId));
  await showsItems(page, {});
  await server.kill();
  await fillOrder(page, "Frame", "9");
  await submit(page);
  await page.getByText("This order is not confirmed.").waitFor();
  assert.equal(await page.getByLabel("Item").inputValue(), "Frame");
  assert.equal(await page.getByLabel("Price").inputValue(), "9");
  await server.restart();
  await page.getByText("This order has not gone through.").waitFor();
  await page.getByRole("button", { name: "Send again" }).click();
  await page.getByText("Ordered Frame for £9.00.").waitFor();
  await showsItems(page, { affordable: { Frame: 1 } });
  assert.equal(ids.size, 1);
});

withServer("an order whose answers were all lost is found out about, not sent blindly", async (page) => {
  await showsItems(page, {});
  await page.route("**/orders", async (route) => {
    await route.fetch();
    await route.abort("connectionreset");
  });
  await fillOrder(page, "Bowl", "6");
  await submit(page);
  await page.getByText("Ordered Bowl for £6.00.").waitFor();
  await showsItems(page, { affordable: { Bowl: 1 } });
  assert.equal(await page.getByLabel("Item").inputValue(), "");
});

withServer("a window reloaded in the middle of an order asks what became of it", async (page) => {
  await showsItems(page, {});
  await page.route("**/orders", (route) => route.abort("connectionreset"));
  await fillOrder(page, "Shelf", "33");
  await submit(page);
  await page.getByText("No answer from the shop yet.").waitFor();
  await page.unroute("**/orders");
  await page.reload();
  await page.getByText("This order has not gone through.").waitFor();
  assert.equal(await page.getByLabel("Item").inputValue(), "Shelf");
  await page.getByRole("button", { name: "Send again" }).click();
  await showsItems(page, { affordable: { Shelf: 1 } });
});

withServer("a server that hangs is asked again, and takes both requests for one order", async (page, server) => {
  await showsItems(page, {});
  const posts = [];
  page.on("request", (request) => request.method() === "POST" && posts.push(request));
  server.freeze();
  await fillOrder(page, "Bench", "75");
  await submit(page);
  await page.getByText("No answer from the shop yet. Trying again…").waitFor();
  await eventually(() => posts.length, 2);
  server.thaw();
  await page.getByText("Ordered Bench for £75.00.").waitFor();
  await showsItems(page, { expensive: { Bench: 1 } });
});

withServer("a link that has gone silent is noticed although nothing broke it", async (page, server) => {
  await page.clock.install();
  await page.reload();
  await order(page, "Hook", "2");
  server.freeze();
  await page.clock.runFor(26_000);
  await eventually(() => page.locator(".link").textContent(), "Reconnecting");
  await page.clock.runFor(12_000);
  await page.getByText("Connection lost.").waitFor();
  server.thaw();
  await page.getByText("Connection lost.").waitFor({ state: "detached" });
  await showsItems(page, { cheap: { Hook: 1 } });
});

function submitAgainWhileSending(page) {
  return page.evaluate(() => document.querySelector("form.order").requestSubmit());
}
