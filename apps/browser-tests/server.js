// An app's program as a child process: the real binary, or its mock where that is asked for.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const READY_MS_MAX = 20_000;
const STOP_MS_MAX = 10_000;

/** A server on a free loopback port with a data directory of its own; it can be killed and started again. */
export async function startServer(app) {
  const command = program(app);
  const data = await mkdtemp(join(tmpdir(), `${app}-`));
  const listen = `127.0.0.1:${await freePort()}`;
  let child = await ready(command, listen, data);
  return {
    url: `http://${listen}/`,
    kill: () => stopped(child, "SIGKILL"),
    restart: async () => (child = await ready(command, listen, data)),
    freeze: () => child.kill("SIGSTOP"),
    thaw: () => child.kill("SIGCONT"),
    async close() {
      await stopped(child, "SIGKILL");
      await rm(data, { recursive: true, force: true });
    },
  };
}

function program(app) {
  const name = app.toUpperCase();
  if (process.env[`HEADWATER_${name}_MOCK`]) {
    return [process.execPath, new URL(`${app}/mock/main.js`, import.meta.url).pathname];
  }
  const binary = process.env[`HEADWATER_BIN_${name}`];
  if (!binary) throw new Error(`set HEADWATER_BIN_${name} to the ${app} binary`);
  return [binary];
}

async function ready([file, ...args], listen, data) {
  const child = spawn(file, [...args, "--listen", listen, "--data", data], { stdio: ["ignore", "pipe", "pipe"] });
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
