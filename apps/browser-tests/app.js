// An app and a browser for the tests of one file.

import { after, before } from "node:test";
import { launch } from "./browser.js";
import { startServer } from "./server.js";

/** Starts `server` and `browser` before a file's first test, and closes them after its last. */
export function withApp(name) {
  const running = {};
  before(async () => {
    running.server = await startServer(name);
    running.browser = await launch();
  });
  after(async () => {
    await running.browser?.close();
    await running.server?.close();
  });
  return running;
}
