import assert from "node:assert/strict";
import { test } from "node:test";
import { customerProblem, labelProblem, normalPrice, priceProblem } from "../../../ordering/web/rules.js";

const accepted = [
  ["5", "5"], ["5.0", "5.0"], ["5.00", "5.00"], ["0", "0"], [" £ 4.50 ", "4.50"], [".5", "0.5"], ["5.", "5"],
  ["1,249.00", "1249.00"], ["12,345,678", "12345678"],
];

test("prices people write become plain pounds", () => {
  for (const [written, price] of accepted) {
    assert.equal(normalPrice(written), price, written);
    assert.equal(priceProblem(normalPrice(written)), undefined, written);
  }
});

const refusedPrices = [
  ["", /Enter a price/], ["   ", /Enter a price/], ["£", /Enter a price/], ["-1", /negative/], ["4,50", /as in 4\.50/],
  ["1.005", /two decimals/], ["NaN", /in pounds/], ["1e400", /in pounds/], ["1e2", /in pounds/], ["five", /in pounds/],
  ["1.2.3", /in pounds/], ["12,34,5", /in pounds/], ["null", /in pounds/], ["+5", /in pounds/], ["٥", /in pounds/],
];

test("anything else is complained about in the customer's words", () => {
  for (const [written, complaint] of refusedPrices) assert.match(priceProblem(normalPrice(written)) ?? "", complaint, written);
});

const labels = [
  ["Tea", undefined], ["🫖".repeat(200), undefined], ["e\u0301".repeat(200), undefined], ["مقلاة", undefined], [" ".repeat(500) + "x", undefined],
  ["", /Enter what/], [" \t ", /Enter what/], ["🫖".repeat(201), /at most 200 characters; this has 201/],
  ["x".repeat(10_240), /this has 10,240/], ["a\u0007b", /control/], ["a\tb", /control/],
];

test("a label has 1 to 200 characters, counted after normalisation, and no control characters", () => {
  for (const [label, complaint] of labels) {
    if (complaint) assert.match(labelProblem(label) ?? "", complaint, label);
    else assert.equal(labelProblem(label), undefined, label);
  }
});

test("a customer has 1 to 100 characters", () => {
  assert.equal(customerProblem("x".repeat(100)), undefined);
  assert.match(customerProblem("x".repeat(101)), /at most 100/);
  assert.match(customerProblem("  "), /Enter a customer/);
});
