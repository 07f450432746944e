// How long to wait before the next attempt, and a wait that can be cut short.

/** Doubling waits with jitter, so that many windows do not return at the same moment. */
export function backoffMs(attempt, { firstMs, maxMs }, random = Math.random) {
  const full = Math.min(firstMs * 2 ** attempt, maxMs);
  return full * (0.75 + random() * 0.25);
}

/** A sleeper: `sleep(ms)` ends after that time or at the next `wake()`. */
export function sleeper() {
  let wake = () => {};
  function sleep(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
  return { sleep, wake: () => wake() };
}
