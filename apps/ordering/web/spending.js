// Keeps the money spent per group up to date.
//
// Spending is a view of its own and may follow the items by a moment, so after a change it is asked for at once, with
// the receipt of this window's last order, and a few more times while it settles. Bursts of changes cost one request.

import { spending } from "./api.js";

const SETTLING_MS = [80, 900, 3_000];

/** Starts keeping: `changed` asks again, `stop` ends it; `onTotals` gets a map from group to amount. */
export function keepSpending(customerId, onTotals) {
  const ending = new AbortController();
  let timer;
  let step = 0;
  let receipt;

  function changed(newReceipt) {
    receipt = newReceipt ?? receipt;
    if (timer !== undefined && step === 0) return;
    step = 0;
    arm();
  }

  function arm() {
    clearTimeout(timer);
    timer = setTimeout(refresh, SETTLING_MS[step]);
  }

  async function refresh() {
    timer = undefined;
    step += 1;
    try {
      onTotals(await spending(customerId, { receipt, signal: ending.signal }));
    } catch (problem) {
      // A receipt from before the server's data was replaced means nothing to it any more.
      if (!problem.mayRetry) receipt = undefined;
    }
    if (timer === undefined && step < SETTLING_MS.length && !ending.signal.aborted) arm();
  }

  function stop() {
    clearTimeout(timer);
    ending.abort();
  }

  return { changed, stop };
}
