// What the app is made of, for who wants to know how visits come to be counts.

import { html } from "./html.js";

export function Topology() {
  return html`
    <details class="topology">
      <summary>How visits are counted</summary>
      <div class="picture" tabindex="0" role="group" aria-label="The topology">
        <img src="/topology.svg" alt="The app's topics, operators and views" loading="lazy" />
      </div>
      <p><a href="/topology">The same in words</a></p>
    </details>`;
}
