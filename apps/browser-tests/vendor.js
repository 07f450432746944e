// Copies Preact, its hooks and htm out of node_modules into what pages share, ready to be served as they are.
//
// Browsers resolve no bare specifiers without an import map, and an import map would have to be inline, which the
// page's content security policy forbids. So each file gets its imports made relative; nothing else changes but the
// reference to a source map that is not served. `unit/vendor.test.js` holds the committed copies to this.

import { mkdir, readFile, writeFile } from "node:fs/promises";

const target = new URL("../web/files/vendor/", import.meta.url);

const vendored = [
  { from: "preact/dist/preact.mjs", to: "preact.js" },
  { from: "preact/hooks/dist/hooks.mjs", to: "preact-hooks.js" },
  { from: "preact/LICENSE", to: "preact.LICENSE" },
  { from: "htm/dist/htm.mjs", to: "htm.js" },
  { from: "htm/LICENSE", to: "htm.LICENSE" },
];

/** The vendored files as they should be: name and text. */
export function vendoredFiles() {
  return Promise.all(vendored.map(async ({ from, to }) => ({ name: to, text: servable(await packaged(from)) })));
}

/** The text of one vendored file as it is. */
export function committed(name) {
  return readFile(new URL(name, target), "utf8");
}

function packaged(path) {
  return readFile(new URL(`node_modules/${path}`, import.meta.url), "utf8");
}

function servable(text) {
  const lines = text.replaceAll('from"preact"', 'from"./preact.js"').split("\n");
  return lines.filter((line) => !line.startsWith("//# sourceMappingURL=")).join("\n").trimEnd() + "\n";
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  await mkdir(target, { recursive: true });
  for (const { name, text } of await vendoredFiles()) await writeFile(new URL(name, target), text);
}
