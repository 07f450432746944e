// Visits by the day as bars, the last of them today; days are those of UTC, as they are counted.

import { html } from "./html.js";

const DAYS = 30;
const DAY_MS = 24 * 60 * 60 * 1000;
const BAR = { width: 14, step: 18, height: 96 };

export function Chart({ days }) {
  const bars = barsOf(days, Date.now());
  const most = Math.max(1, ...bars.map(({ visits }) => visits));
  const width = bars.length * BAR.step;
  return html`
    <figure class="chart">
      <svg viewBox=${`0 0 ${width} ${BAR.height + 2}`} role="img" aria-label=${spoken(bars)}>
        <line x1="0" x2=${width} y1=${BAR.height + 1} y2=${BAR.height + 1} />
        ${bars.map(({ day, visits }, n) => html`<${Bar} key=${day} n=${n} day=${day} visits=${visits} most=${most} />`)}
      </svg>
      <figcaption><span>${bars[0].day}</span><span>${bars.at(-1).day}</span></figcaption>
    </figure>`;
}

function Bar({ n, day, visits, most }) {
  const height = visits === 0 ? 0 : Math.max(2, (visits / most) * BAR.height);
  return html`
    <rect data-day=${day} data-visits=${visits} x=${n * BAR.step + 2} y=${BAR.height - height} width=${BAR.width} height=${height} rx="2">
      <title>${`${day}: ${visits}`}</title>
    </rect>`;
}

/** The last thirty days up to now, the earliest first, each with its visits. */
export function barsOf(days, now) {
  const byDay = new Map([...days].map(([start, visits]) => [start.slice(0, 10), visits]));
  return Array.from({ length: DAYS }, (_, n) => {
    const day = new Date(now - (DAYS - 1 - n) * DAY_MS).toISOString().slice(0, 10);
    return { day, visits: byDay.get(day) ?? 0 };
  });
}

function spoken(bars) {
  const visited = bars.filter(({ visits }) => visits > 0).map(({ day, visits }) => `${day}: ${visits}`);
  return `Visits by day. ${visited.join(", ") || "None in the last thirty days."}`;
}
