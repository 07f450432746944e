// The page: a form that makes links, the link that is looked at, and the list of all.

import { deleteLink } from "./api.js";
import { html } from "./html.js";
import { LinkCard } from "./link-card.js";
import { LinkForm } from "./link-form.js";
import { LinkList } from "./link-list.js";
import { Topology } from "./topology.js";
import { render } from "./vendor/preact.js";
import { useEffect, useState } from "./vendor/preact-hooks.js";

function App() {
  const [code, setCode] = useState(codeInAddress);
  // What the list has to include: the receipt of the last change made here.
  const [receipt, setReceipt] = useState();
  // How often links were visited that were looked at: newer than what the list was told.
  const [totals, setTotals] = useState(new Map());

  useEffect(() => followAddress(() => setCode(codeInAddress())), []);

  function look(next) {
    history.pushState(null, "", next ? `#${next}` : location.pathname);
    setCode(next);
  }

  function made(link) {
    setReceipt(link.receipt);
    look(link.code);
  }

  function counted(total) {
    setTotals((before) => new Map(before).set(code, total));
  }

  async function remove(gone) {
    setReceipt(await deleteLink(gone));
    if (gone === code) look(undefined);
  }

  return html`
    <header class="masthead"><p class="name"><img src="favicon.svg" alt="" width="28" height="28" />Shortener</p></header>
    <main>
      <div class="top">
        <${LinkForm} onMade=${made} />
        ${code && html`<${LinkCard} key=${code} code=${code} onDelete=${() => remove(code)} onCounted=${counted} />`}
      </div>
      <${LinkList} receipt=${receipt} current=${code} totals=${totals} onLook=${look} />
      <${Topology} />
    </main>`;
}

function codeInAddress() {
  return decodeURIComponent(location.hash.slice(1)) || undefined;
}

function followAddress(onChange) {
  window.addEventListener("popstate", onChange);
  return () => window.removeEventListener("popstate", onChange);
}

render(html`<${App} />`, document.getElementById("app"));
