// The form that makes links, with a complaint beside each field that does not fit.

import { makeLink } from "./api.js";
import { Field, focusFirstProblem } from "./field.js";
import { html } from "./html.js";
import { termsOf } from "./terms.js";
import { useLayoutEffect, useRef, useState } from "./vendor/preact-hooks.js";

const EMPTY = { url: "", alias: "", validUntil: "", maxVisits: "", code: "short" };

/** `onMade` gets each link as it was answered. */
export function LinkForm({ onMade }) {
  const [input, setInput] = useState(EMPTY);
  const [problems, setProblems] = useState({});
  const [notice, setNotice] = useState();
  const [sending, setSending] = useState(false);
  const busy = useRef(false);
  const form = useRef();

  useLayoutEffect(() => focusFirstProblem(form.current), [problems]);

  const field = (name) => ({
    id: name,
    value: input[name],
    problem: problems[name],
    readonly: sending,
    onInput: ({ target }) => setInput((before) => ({ ...before, [name]: target.value })),
  });

  // A second submit in the same moment finds `busy` set before any state has been rendered.
  async function submit(event) {
    event.preventDefault();
    if (busy.current) return;
    busy.current = true;
    setSending(true);
    setProblems({});
    setNotice(undefined);
    try {
      const link = await makeLink(termsOf(input));
      setInput(EMPTY);
      setNotice({ kind: "good", text: "Here is your short link." });
      onMade(link);
    } catch (problem) {
      const byField = Object.fromEntries(problem.errors.map(({ field, detail }) => [field, sentence(detail)]));
      setProblems(byField);
      if (Object.keys(byField).length === 0) setNotice({ kind: "bad", text: sentence(problem.message) });
    } finally {
      busy.current = false;
      setSending(false);
    }
  }

  return html`
    <form class="card form" ref=${form} onSubmit=${submit} noValidate aria-labelledby="form-title">
      <h1 id="form-title">Shorten an address</h1>
      <${Field} label="Address" inputmode="url" dir="ltr" ...${field("url")} />
      <details>
        <summary>Options</summary>
        <${Field} label="Alias" hint="What stands after the slash; made for you if left empty." ...${field("alias")} />
        <${Field} label="Valid until" type="datetime-local" ...${field("validUntil")} />
        <${Field} label="Visits at most" inputmode="numeric" ...${field("maxVisits")} />
        <div class="field">
          <label for="code">Code</label>
          <div class="box">
            <select id="code" value=${input.code} onChange=${field("code").onInput}>
              <option value="short">Short</option>
              <option value="sha256">SHA-256 of the address</option>
            </select>
          </div>
        </div>
      </details>
      <button class="primary" type="submit" aria-disabled=${sending ? "true" : "false"}>${sending ? "Shortening…" : "Shorten"}</button>
      <div role="status">${notice && html`<p class=${`notice ${notice.kind}`}>${notice.text}</p>`}</div>
    </form>`;
}

function sentence(text) {
  const capital = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(capital) ? capital : `${capital}.`;
}
