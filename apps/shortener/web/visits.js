// A link's visits by the day, as they are counted: a stream that the browser itself resumes where it broke.

import { visitsStream } from "./api.js";
import { useEffect, useState } from "./vendor/preact-hooks.js";

/** `days` maps the beginning of each day to its visits; it is undefined until the server has told them. */
export function useVisits(code) {
  const [days, setDays] = useState();
  const [isLive, setLive] = useState(false);
  useEffect(() => {
    const events = new EventSource(visitsStream(code));
    events.addEventListener("open", () => setLive(true));
    events.addEventListener("error", () => setLive(false));
    events.addEventListener("reset", ({ data }) => setDays(afterReset(JSON.parse(data))));
    events.addEventListener("change", ({ data }) => setDays((before) => afterChange(before, JSON.parse(data))));
    return () => events.close();
  }, [code]);
  return { days, isLive };
}

/** What is known after all counts were told. */
export function afterReset(counts) {
  return new Map(counts.map(({ start, visits }) => [start, visits]));
}

/** What is known after one count was told, as it is now. */
export function afterChange(before, { start, visits }) {
  return new Map(before).set(start, visits);
}
