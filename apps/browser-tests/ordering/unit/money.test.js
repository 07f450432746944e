import assert from "node:assert/strict";
import { test } from "node:test";
import { formatPounds, sumPounds } from "../../../ordering/web/money.js";

const written = [
  ["0", "£0.00"], ["5", "£5.00"], ["5.5", "£5.50"], ["0.07", "£0.07"], ["1234.5", "£1,234.50"],
  ["90071992547409931.01", "£90,071,992,547,409,931.01"],
];

test("amounts are shown in pounds and pence, exactly", () => {
  for (const [amount, shown] of written) assert.equal(formatPounds(amount), shown);
});

const sums = [[[], "0.00"], [["0.10", "0.20"], "0.30"], [["90071992547409931.01", "0.99"], "90071992547409932.00"]];

test("sums are exact", () => {
  for (const [amounts, sum] of sums) assert.equal(sumPounds(amounts), sum);
});
