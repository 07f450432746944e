// The page: a masthead, and below it either the question who is ordering or that customer's shop.

import { Chooser } from "./chooser.js";
import { choose, chosenCustomer, forget, settleAddress } from "./customer.js";
import { html } from "./html.js";
import { Shop } from "./shop.js";
import { render } from "./vendor/preact.js";
import { useEffect, useLayoutEffect, useRef, useState } from "./vendor/preact-hooks.js";

function App() {
  const [customer, setCustomer] = useState(chosenCustomer);
  const [choosing, setChoosing] = useState(customer === undefined);
  const [refused, setRefused] = useState();
  const focusNext = useRef();

  useEffect(() => followAddress(() => change(chosenCustomer())), []);
  useEffect(() => {
    if (customer && !refused) settleAddress(customer);
    document.title = customer && !choosing ? `${customer} · Ordering` : "Ordering";
  }, [customer, choosing, refused]);
  useLayoutEffect(() => {
    if (!choosing && focusNext.current) document.querySelector(focusNext.current)?.focus();
    focusNext.current = undefined;
  }, [choosing]);

  function change(next) {
    setRefused(undefined);
    setCustomer(next);
    setChoosing(next === undefined);
  }

  function chosen(next) {
    focusNext.current = "#label";
    choose(next);
    change(next);
  }

  function cancel() {
    focusNext.current = ".masthead button";
    setChoosing(false);
  }

  function onRefused(problem) {
    forget(customer);
    setRefused(problem.message);
    setChoosing(true);
  }

  const hasShop = customer !== undefined && !refused;
  return html`
    <${Masthead} customer=${!choosing && customer} onChange=${() => setChoosing(true)} />
    <main>
      ${choosing && html`
        <${Chooser} key="chooser" current=${customer} refused=${refused} onChoose=${chosen}
          onCancel=${hasShop ? cancel : undefined} />`}
      ${hasShop && html`
        <div key=${`shop of ${customer}`} hidden=${choosing}>
          <${Shop} customerId=${customer} onRefused=${onRefused} />
        </div>`}
    </main>`;
}

function Masthead({ customer, onChange }) {
  return html`
    <header class="masthead">
      <p class="name"><img src="favicon.svg" alt="" width="28" height="28" />Ordering</p>
      ${customer && html`
        <p class="who"><bdi title=${customer}>${customer}</bdi><button class="quiet" type="button" onClick=${onChange}>Change<span class="unseen"> customer</span></button></p>`}
    </header>`;
}

function followAddress(onChange) {
  window.addEventListener("popstate", onChange);
  return () => window.removeEventListener("popstate", onChange);
}

render(html`<${App} />`, document.getElementById("app"));
