// The program under test as a child process.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const READY_MS_MAX = 20_000;
const STOP_MS_MAX = 10_000;

/** A server on a free loopback port with a data directory of its own; it can be killed and started again. */
export async function startServer() {
  const binary = program();
  const data = await mkdtemp(join(tmpdir(), "shortener-"));
  const listen = `127.0.0.1:${await freePort()}`;
  let child = await ready(binary, listen, data);
  return {
    url: `http://${listen}/`,
    kill: () => stopped(child, "SIGKILL"),
    restart: async () => (child = await ready(binary, listen, data)),
    async close() {
      await stopped(child, "SIGKILL");
      await rm(data, { recursive: true, force: true });
    },
  };
}

function program() {
  const binary = process.env.HEADWATER_BIN_SHORTENER;
  if (!binary) throw new Error("set HEADWATER_BIN_SHORTENER to the shortener binary");
  return binary;
}

async function ready(file, listen, data) {
  const child = spawn(file, ["--listen", listen, "--data", data], { stdio: ["ignore", "pipe", "pipe"] });
  const output = collect(child);
  await Promise.race([
    output.has(`http://${listen}`),
    once(child, "exit").then(() => fail("the server ended before it was ready", output)),
    after(READY_MS_MAX).then(() => fail("the server was not ready in time", output)),
  ]);
  return child;
}

// Both pipes are read to the end, so that the child never blocks on a full one.
function collect(child) {
  let text = "";
  let wanted = {};
  const onData = (chunk) => {
    text += chunk;
    if (wanted.text && text.includes(wanted.text)) wanted.resolve();
  };
  child.stdout.on("data", onData);
  child.stderr.on("data", onData);
  return { has: (sought) => new Promise((resolve) => (wanted = { text: sought, resolve })), toString: () => text };
}

function fail(what, output) {
  throw new Error(`${what}; it said:\n${output}`);
}

async function stopped(child, signal) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, "exit");
  child.kill(signal);
  await Promise.race([exit, after(STOP_MS_MAX).then(() => fail("the server did not end", ""))]);
}

function after(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}
