// What the app is made of, for who wants to know how visits come to be counts.

import { topology } from "./api.js";
import { html } from "./html.js";
import { useState } from "./vendor/preact-hooks.js";

export function Topology() {
  const [text, setText] = useState();
  const onToggle = ({ target }) => target.open && text === undefined && topology().then(setText, ({ message }) => setText(message));
  return html`
    <details class="topology" onToggle=${onToggle}>
      <summary>How visits are counted</summary>
      <pre>${text ?? "Loading…"}</pre>
    </details>`;
}
