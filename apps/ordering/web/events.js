// Server-sent events, parsed from chunks of text as the HTML standard's "parsing an event stream" lays down.
//
// The browser's own EventSource hides comments, so a window could not tell a quiet link from a dead one.

/** A parser: give it chunks, it answers with the events that became complete, each `{event, data, id}`. */
export function eventParser() {
  let buffered = "";
  let fields = {};
  let id;

  function takeLine(line) {
    if (line === "") return takeEvent();
    if (line.startsWith(":")) return undefined;
    const [, name, value] = /^([^:]*)(?:: ?(.*))?$/s.exec(line);
    if (name === "data") fields.data = fields.data === undefined ? (value ?? "") : `${fields.data}\n${value ?? ""}`;
    if (name === "event") fields.event = value;
    if (name === "id" && !value?.includes("\0")) id = value ?? "";
    return undefined;
  }

  function takeEvent() {
    const { data, event = "message" } = fields;
    fields = {};
    return data === undefined ? undefined : { event, data, id };
  }

  return function feed(chunk) {
    buffered += chunk;
    // A carriage return at the very end may be half of a line break: it waits for the next chunk.
    const lines = buffered.split(/\r\n|\n|\r(?!$)/);
    buffered = lines.pop();
    return lines.map(takeLine).filter((event) => event !== undefined);
  };
}
