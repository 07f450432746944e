// Everything one customer sees: the order form, the groups, and how the link to the server is.

import { afterEvents, spoken } from "./basket.js";
import { Groups, Summary } from "./groups.js";
import { html } from "./html.js";
import { follow } from "./live.js";
import { OrderForm } from "./order-form.js";
import { keepSpending } from "./spending.js";
import { useEffect, useRef, useState } from "./vendor/preact-hooks.js";

/** `onRefused` hears when the server does not accept the customer itself. */
export function Shop({ customerId, onRefused }) {
  const { basket, link, news, totals, retry, placed } = useShop(customerId, onRefused);
  return html`
    <${Banner} link=${link} retry=${retry} />
    <div class="shop">
      <${OrderForm} customerId=${customerId} link=${link} onPlaced=${placed} />
      <section class="ordered" aria-labelledby="ordered-title">
        <header class="overview">
          <h1 id="ordered-title">Ordered so far</h1>
          <${Summary} basket=${basket} totals=${totals} />
          <${Link} state=${link} />
        </header>
        <${Groups} basket=${basket} totals=${totals} />
      </section>
    </div>
    <p class="unseen" role="status">${news}</p>`;
}

function useShop(customerId, onRefused) {
  const [basket, setBasket] = useState();
  const [link, setLink] = useState("connecting");
  const [news, setNews] = useState("");
  const [totals, setTotals] = useState();
  const drivers = useRef({});

  useEffect(() => {
    let current;
    let before;
    const spending = keepSpending(customerId, setTotals);
    const live = follow(customerId, { onEvents, onLink });

    function onEvents(events) {
      const { basket, changes } = afterEvents(current, events);
      current = basket;
      setBasket(basket);
      if (changes.length > 0) setNews(spoken(changes));
      spending.changed();
    }

    function onLink(state, problem) {
      if (before === "lost" && state === "live") setNews("Connected again.");
      before = state;
      setLink(state);
      if (state === "live") spending.changed();
      if (state === "refused") onRefused(problem);
    }

    drivers.current = { live, spending };
    const stopFollowingSight = pauseOutOfSight(live);
    return () => {
      stopFollowingSight();
      live.stop();
      spending.stop();
    };
  }, [customerId]);

  function placed(receipt) {
    drivers.current.spending.changed(receipt);
    drivers.current.live.retry();
  }

  return { basket, link, news, totals, placed, retry: () => drivers.current.live.retry() };
}

// A browser allows few connections per server, so a window nobody sees gives its stream up and resumes it later.
// Coming online is the best moment to end a wait.
function pauseOutOfSight(live) {
  const onSight = () => (document.hidden ? live.pause() : live.resume());
  if (document.hidden) live.pause();
  document.addEventListener("visibilitychange", onSight);
  window.addEventListener("online", live.retry);
  return () => {
    document.removeEventListener("visibilitychange", onSight);
    window.removeEventListener("online", live.retry);
  };
}

function Banner({ link, retry }) {
  return html`
    <div class="banner-place" role="alert">
      ${link === "lost" && html`
        <div class="banner">
          <p><strong>Connection lost.</strong> What you see may be out of date.</p>
          <button type="button" onClick=${retry}>Try now</button>
        </div>`}
    </div>`;
}

const LINK_TEXTS = { connecting: "Connecting", live: "Live", retrying: "Reconnecting", lost: "Not connected", refused: "" };

function Link({ state }) {
  return html`<p class=${`link ${state}`}><span class="dot" aria-hidden="true"></span>${LINK_TEXTS[state]}</p>`;
}
