// The form that places orders, and what it says about each: a complaint beside a field, or a notice about the outcome.
//
// Invariant: input leaves the form only when its order is known to be placed.

import { isRecorded } from "./api.js";
import { sleeper } from "./backoff.js";
import { Field, focusFirstProblem } from "./field.js";
import { html } from "./html.js";
import { formatPounds } from "./money.js";
import { attemptFor, isSameContent, openAttempt, place, settle } from "./placing.js";
import { labelProblem, normalPrice, priceProblem } from "./rules.js";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "./vendor/preact-hooks.js";

const EMPTY = { label: "", price: "" };
const NO_PROBLEMS = {};

/** `link` is the state of the live stream, whose recovery is the moment to ask again; `onPlaced` gets each receipt. */
export function OrderForm({ customerId, link, onPlaced }) {
  const [attempt, setAttempt] = useState(() => openAttempt(customerId));
  const [input, setInput] = useState(() => (attempt ? inputOf(attempt) : EMPTY));
  const [problems, setProblems] = useState(NO_PROBLEMS);
  const [notice, setNotice] = useState(attempt && UNCONFIRMED);
  const [sending, setSending] = useState(false);
  const waiting = useMemo(sleeper, []);
  const busy = useRef(false);
  const form = useRef();
  const shown = useRef();
  const content = contentOf(customerId, input);
  shown.current = content;
  const isRepeat = attempt !== undefined && isSameContent(attempt, content);

  useLayoutEffect(() => focusFirstProblem(form.current), [problems]);
  useEffect(() => {
    if (link !== "live") return;
    waiting.wake();
    if (attempt && !busy.current) lookUp(attempt);
  }, [link, attempt]);

  function edit(name, value) {
    setInput({ ...input, [name]: value });
    setProblems(({ [name]: _, ...others }) => others);
    if (!attempt) setNotice(undefined);
  }

  // A second submit in the same moment finds `busy` set before any state has been rendered.
  async function submit(event) {
    event.preventDefault();
    if (busy.current) return;
    const found = problemsOf(input);
    setProblems(found);
    if (Object.keys(found).length > 0) return setNotice(undefined);
    await send(attemptFor(attempt, content));
  }

  async function send(next) {
    busy.current = true;
    setSending(true);
    setNotice(undefined);
    const onWait = (problem) => setNotice(waitingFor(problem));
    const outcome = await place(next, { onWait, sleep: waiting.sleep });
    busy.current = false;
    setSending(false);
    if (outcome.kind === "placed") return placed(next, outcome.receipt);
    if (outcome.kind === "refused") return refused(outcome.problem);
    setAttempt(next);
    setNotice(UNCONFIRMED);
  }

  function placed(done, receipt) {
    const { itemLabel, itemPrice } = done.order;
    setAttempt(undefined);
    setInput(EMPTY);
    setNotice({ kind: "good", text: html`Ordered <bdi>${itemLabel.trim()}</bdi> for ${formatPounds(itemPrice)}.` });
    if (form.current?.contains(document.activeElement)) focusForNext(form.current);
    onPlaced(receipt);
  }

  function refused(problem) {
    const byField = problemsFrom(problem);
    setAttempt(undefined);
    setProblems(byField);
    setNotice(Object.keys(byField).length > 0 ? undefined : { kind: "bad", text: sentence(problem.message) });
  }

  // The order may have been recorded although its answer never came: ask, never guess.
  async function lookUp(open) {
    const recorded = await isRecorded(open.order.orderId).catch(() => undefined);
    if (recorded === undefined || busy.current) return;
    if (!recorded) return setNotice(NOT_RECORDED);
    settle(open);
    if (isSameContent(open, shown.current)) return placed(open);
    setAttempt(undefined);
    setNotice({ kind: "good", text: html`Your earlier order of <bdi>${open.order.itemLabel}</bdi> did go through.` });
  }

  return html`
    <form class="order card" ref=${form} onSubmit=${submit} onKeyDown=${ignoreRepeats} noValidate
      aria-labelledby="order-title">
      <h2 id="order-title">New order</h2>
      <${Field} id="label" label="Item" value=${input.label} problem=${problems.label} readonly=${sending}
        onInput=${(event) => edit("label", event.target.value)} />
      <${Field} id="price" label="Price" prefix="£" value=${input.price} problem=${problems.price} readonly=${sending}
        inputmode="decimal" dir="ltr" onInput=${(event) => edit("price", event.target.value)} />
      <div class="actions">
        <button class="primary" type="submit" aria-disabled=${sending ? "true" : "false"} onClick=${ignoreDoubleClick}>
          ${sending ? "Placing…" : isRepeat ? "Send again" : "Place order"}
        </button>
      </div>
      <div class="notice-place" role="status">
        ${notice && html`<p class=${`notice ${notice.kind}`}>${notice.text}</p>`}
      </div>
    </form>`;
}

const UNCONFIRMED = {
  kind: "bad",
  text: "This order is not confirmed. It may have gone through; sending it again will not order twice.",
};
const NOT_RECORDED = { kind: "bad", text: "This order has not gone through. You can send it again." };

function waitingFor(problem) {
  const why = problem.status === 429 || problem.status === 503 ? "The shop is busy." : "No answer from the shop yet.";
  return { kind: "wait", text: `${why} Trying again…` };
}

function contentOf(customerId, { label, price }) {
  return { customerId, itemLabel: label, itemPrice: normalPrice(price) };
}

function inputOf({ order }) {
  return { label: order.itemLabel, price: order.itemPrice };
}

function problemsOf({ label, price }) {
  return withoutBlanks({ label: labelProblem(label), price: priceProblem(normalPrice(price)) });
}

const FIELDS = { itemLabel: "label", itemPrice: "price" };

function problemsFrom({ errors }) {
  const byField = errors.map(({ field, detail }) => [FIELDS[field], sentence(detail ?? "Not accepted.")]);
  return Object.fromEntries(byField.filter(([name]) => name !== undefined));
}

function withoutBlanks(problems) {
  return Object.fromEntries(Object.entries(problems).filter(([, problem]) => problem !== undefined));
}

function sentence(text) {
  const capital = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(capital) ? capital : `${capital}.`;
}

// The second click of a double click, or a key held down, is never meant as a second order.
function ignoreDoubleClick(event) {
  if (event.detail > 1) event.preventDefault();
}

function ignoreRepeats(event) {
  if (event.key === "Enter" && event.repeat) event.preventDefault();
}

function focusForNext(form) {
  if (document.activeElement.tagName === "INPUT") form.querySelector("input").focus();
}
