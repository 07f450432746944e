// Asks which customer to order for.

import { recentCustomers } from "./customer.js";
import { Field, focusFirstProblem } from "./field.js";
import { html } from "./html.js";
import { customerProblem, normalText } from "./rules.js";
import { useLayoutEffect, useRef, useState } from "./vendor/preact-hooks.js";

/** `refused` is the server's complaint about the customer given; `onCancel` is absent when there is nothing to return to. */
export function Chooser({ current, refused, onChoose, onCancel }) {
  const [name, setName] = useState(refused ? current : "");
  const [problem, setProblem] = useState(refused);
  const form = useRef();
  useLayoutEffect(() => form.current.querySelector("input").focus(), []);
  useLayoutEffect(() => focusFirstProblem(form.current), [problem]);

  function submit(event) {
    event.preventDefault();
    const found = customerProblem(name);
    if (found) setProblem(found);
    else onChoose(normalText(name));
  }

  return html`
    <section class="chooser card" onKeyDown=${(event) => event.key === "Escape" && onCancel?.()}>
      <h1>Who is ordering?</h1>
      <p class="lead">Orders are kept for each customer. Any name will do.</p>
      <form ref=${form} onSubmit=${submit} noValidate>
        <${Field} id="customer" label="Customer" value=${name} problem=${problem} autocapitalize="words"
          onInput=${(event) => { setName(event.target.value); setProblem(undefined); }} />
        <div class="actions">
          <button class="primary" type="submit">Continue</button>
          ${onCancel && html`<button class="quiet" type="button" onClick=${onCancel}>Cancel</button>`}
        </div>
      </form>
      <${Recent} customers=${recentCustomers().filter((customer) => customer !== current)} onChoose=${onChoose} />
    </section>`;
}

function Recent({ customers, onChoose }) {
  if (customers.length === 0) return null;
  return html`
    <nav class="recent" aria-labelledby="recent-title">
      <h2 id="recent-title">Chosen here before</h2>
      <ul>
        ${customers.map((customer) => html`
          <li key=${customer}>
            <button class="choice" type="button" onClick=${() => onChoose(customer)}><bdi>${customer}</bdi></button>
          </li>`)}
      </ul>
    </nav>`;
}
