// Pictures of the page in its main states, for looking at: node screenshots.js [directory].

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { launch, openWindow } from "../browser.js";
import { startServer } from "../server.js";

const directory = process.argv[2] ?? "screenshots";
const DESK = { viewport: { width: 1280, height: 800 } };
const TABLET = { viewport: { width: 800, height: 900 } };
const PHONE = { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2 };

const ORDERS = [
  ["Tea, loose leaf", "3.20", 2], ["Biscuits", "1.85", 3], ["Matches", "0.90", 1], ["🫖 strainer", "4.99", 1],
  ["Kettle", "39.00", 1], ["مقلاة حديد", "42.50", 1], ["Teapot, stoneware, 1.2 litres, speckled grey", "50.00", 2], ["Mug", "12.00", 12],
  ["Espresso machine", "1249.00", 1], ["Grinder", "229.50", 1],
];

await mkdir(directory, { recursive: true });
const server = await startServer("ordering");
const browser = await launch();
for (const [itemLabel, itemPrice, times] of ORDERS) {
  for (let i = 0; i < times; i += 1) await post({ customerId: "Ada Lovelace", itemLabel, itemPrice });
}

for (const colorScheme of ["light", "dark"]) {
  for (const [size, options] of Object.entries({ desk: DESK, tablet: TABLET, phone: PHONE })) {
    const page = await openWindow(browser, server.url, { ...options, colorScheme });
    const shoot = (state) => page.screenshot({ path: join(directory, `${state}-${size}-${colorScheme}.png`), fullPage: true });
    await shoot("first-visit");
    await page.goto(`${server.url}?customer=Nobody+yet`);
    await page.getByText("Nothing ordered yet.").first().waitFor();
    await page.goto(`${server.url}?customer=Ada+Lovelace`);
    await page.locator("#price").fill("4.505");
    await page.getByText("Espresso machine").waitFor();
    await page.getByText("£1,478.50").waitFor();
    await page.getByRole("button", { name: "Place order" }).click();
    await shoot("problems");
    await page.locator("#label").fill("Matches");
    await page.locator("#price").fill("0.90");
    await page.getByRole("button", { name: "Place order" }).click();
    await page.getByText("Ordered Matches").waitFor();
    await page.waitForTimeout(400);
    await shoot("ordered");
    await page.getByRole("button", { name: "Change" }).click();
    await shoot("chooser");
    await page.context().close();
  }
}

const page = await openWindow(browser, `${server.url}?customer=Ada+Lovelace`, PHONE);
await page.getByText("Espresso machine").waitFor();
await server.kill();
await page.locator("#label").fill("Kettle");
await page.locator("#price").fill("39");
await page.getByRole("button", { name: "Place order" }).click();
await page.getByText("Connection lost").waitFor();
await page.screenshot({ path: join(directory, "lost-waiting.png"), fullPage: true });
await page.getByText("not confirmed").waitFor();
await page.screenshot({ path: join(directory, "lost-unconfirmed.png"), fullPage: true });
await browser.close();
await server.close();

async function post(order) {
  const body = JSON.stringify(order);
  await fetch(`${server.url}orders`, { method: "POST", headers: { "Content-Type": "application/json" }, body });
}
