import assert from "node:assert/strict";
import { test } from "node:test";
import { committed, vendoredFiles } from "../vendor.js";

test("the vendored files are those of the locked packages", async () => {
  for (const { name, text } of await vendoredFiles()) {
    assert.equal(await committed(name), text, `apps/web/files/vendor/${name} differs: run npm run vendor`);
  }
});
