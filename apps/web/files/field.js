// One labelled text field with its hint and its complaint, tied together for screen readers.

import { html } from "./html.js";

/** `prefix` stands inside the field before the text; any further property goes to the input itself. */
export function Field({ id, label, hint, prefix, problem, ...input }) {
  const described = [hint && `${id}-hint`, problem && `${id}-problem`].filter(Boolean).join(" ");
  return html`
    <div class=${problem ? "field has-problem" : "field"}>
      <label for=${id}>${label}</label>
      ${hint && html`<p class="hint" id=${`${id}-hint`}>${hint}</p>`}
      <div class="box">
        ${prefix && html`<span class="prefix" aria-hidden="true">${prefix}</span>`}
        <input id=${id} type="text" dir="auto" autocomplete="off" spellcheck="false"
          aria-invalid=${problem ? "true" : "false"} aria-describedby=${described || null} ...${input} />
      </div>
      ${problem && html`<p class="problem" id=${`${id}-problem`}>${problem}</p>`}
    </div>`;
}

/** Moves the focus to the first field of a form that has a complaint. */
export function focusFirstProblem(form) {
  form?.querySelector("[aria-invalid=true]")?.focus();
}
