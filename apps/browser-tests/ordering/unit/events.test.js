import assert from "node:assert/strict";
import { test } from "node:test";
import { eventParser } from "../../../ordering/web/events.js";

const parsed = (chunks) => {
  const feed = eventParser();
  return chunks.flatMap((chunk) => feed(chunk));
};

const streams = [
  ["one event", ["event: reset\nid: 7\ndata: []\n\n"], [{ event: "reset", id: "7", data: "[]" }]],
  ["several lines of data", ["data: a\ndata: b\n\n"], [{ event: "message", id: undefined, data: "a\nb" }]],
  ["comments and unknown fields", [": keep-alive\n\nretry: 5\nwhat: x\ndata:x\n\n"], [{ event: "message", id: undefined, data: "x" }]],
  ["nothing without data", ["event: change\n\n"], []],
  ["an unfinished event", ["data: x\n"], []],
  ["only one space is dropped", ["data:  x\n\n"], [{ event: "message", id: undefined, data: " x" }]],
  ["an id stays until the next", ["id: 1\ndata: a\n\ndata: b\n\n"], [
    { event: "message", id: "1", data: "a" }, { event: "message", id: "1", data: "b" }]],
  ["any line break", ["data: a\r\n\r\ndata: b\r\rdata: c\n\n"], [
    { event: "message", id: undefined, data: "a" }, { event: "message", id: undefined, data: "b" }, { event: "message", id: undefined, data: "c" }]],
];

for (const [name, chunks, events] of streams) {
  test(`the stream parser: ${name}`, () => {
    assert.deepEqual(parsed(chunks), events);
    assert.deepEqual(parsed([...chunks.join("")]), events, "the same, one character at a time");
  });
}
