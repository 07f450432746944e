import assert from "node:assert/strict";
import { test } from "node:test";
import { termsOf } from "../../../shortener/web/terms.js";

const EMPTY = { url: "https://example.com/", alias: "", validUntil: "", maxVisits: "", code: "short" };

test("what was left empty is left out, and what is no number is left to the server", () => {
  const cases = [
    [{}, {}],
    [{ url: "" }, { url: "" }],
    [{ alias: "spring" }, { alias: "spring" }],
    [{ code: "sha256" }, { code: "sha256" }],
    [{ code: "sha256", alias: "spring" }, { alias: "spring" }],
    [{ maxVisits: " 12 " }, { maxVisits: 12 }],
    [{ maxVisits: "-1" }, { maxVisits: "-1" }],
    [{ maxVisits: "many" }, { maxVisits: "many" }],
    [{ validUntil: "never" }, { validUntil: "never" }],
    [{ validUntil: "2030-01-02T03:04" }, { validUntil: new Date(2030, 0, 2, 3, 4).toISOString() }],
  ];
  for (const [typed, sent] of cases) {
    assert.deepEqual(termsOf({ ...EMPTY, ...typed }), { url: EMPTY.url, ...sent }, JSON.stringify(typed));
  }
});
