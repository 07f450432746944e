// The link that is looked at: its short address to copy or scan, where it leads, and its visits as they are counted.

import { link as ask, qrCode } from "./api.js";
import { Chart } from "./chart.js";
import { html } from "./html.js";
import { useVisits } from "./visits.js";
import { useEffect, useState } from "./vendor/preact-hooks.js";

/** `onCounted` gets the total of the link's visits, whenever it is told anew. */
export function LinkCard({ code, onDelete, onCounted }) {
  const { link, problem } = useLink(code);
  if (problem) return html`<section class="card link"><p class="notice bad">${problem.message}</p></section>`;
  if (!link) return html`<section class="card link" aria-busy="true"><p>Loading…</p></section>`;
  return html`
    <section class="card link" aria-labelledby="link-title">
      <header>
        <h2 id="link-title"><a href=${link.shortUrl} rel="noreferrer">${link.shortUrl}</a></h2>
        <p class="target"><bdi>${link.url}</bdi></p>
        <p class="terms">${terms(link)}</p>
        <p class="actions"><${Copy} text=${link.shortUrl} /><${Delete} onDelete=${onDelete} /></p>
      </header>
      <img class="qr" src=${qrCode(code)} alt=${`QR code of ${link.shortUrl}`} width="148" height="148" />
      <${Visits} code=${code} onCounted=${onCounted} />
    </section>`;
}

function useLink(code) {
  const [answer, setAnswer] = useState({});
  useEffect(() => {
    const stop = new AbortController();
    ask(code, stop.signal).then(
      (link) => setAnswer({ link }),
      (problem) => stop.signal.aborted || setAnswer({ problem }),
    );
    return () => stop.abort();
  }, [code]);
  return answer;
}

const STATES = { live: "Live", expired: "Expired", exhausted: "Had all its visits" };

function terms({ state, validUntil, maxVisits, visitsLeft }) {
  const until = validUntil && `until ${new Date(validUntil).toLocaleString("en-GB")}`;
  const limit = maxVisits && `${visitsLeft} of ${maxVisits} visits left`;
  return [STATES[state], until, limit].filter(Boolean).join(" · ");
}

function Copy({ text }) {
  const [told, setTold] = useState("");
  const copy = () => navigator.clipboard.writeText(text).then(() => setTold("Copied"), () => setTold("Copy it from above"));
  return html`
    <button type="button" class="secondary" onClick=${copy}>Copy</button><span class="told" role="status">${told}</span>`;
}

// Asks once more: what is deleted leads nowhere for all who have the link.
function Delete({ onDelete }) {
  const [asked, setAsked] = useState(false);
  const click = () => (asked ? onDelete() : setAsked(true));
  return html`<button type="button" class="quiet" onClick=${click} onBlur=${() => setAsked(false)}>${asked ? "Delete it for good?" : "Delete"}</button>`;
}

function Visits({ code, onCounted }) {
  const { days, isLive } = useVisits(code);
  const total = days && [...days.values()].reduce((sum, visits) => sum + visits, 0);
  useEffect(() => {
    if (days) onCounted(total);
  }, [total]);
  if (!days) return html`<p class="visits" aria-busy="true">Counting…</p>`;
  return html`
    <div class="visits">
      <p><strong class="total">${total.toLocaleString("en-GB")}</strong> ${total === 1 ? "visit" : "visits"}
        <span class=${isLive ? "dot live" : "dot"} title=${isLive ? "Live" : "Reconnecting"}></span></p>
      <${Chart} days=${days} />
    </div>`;
}
