// What the form asks for, from what was typed into it.

/** The request for a link; fields that were left empty are left out. */
export function termsOf({ url, alias, validUntil, maxVisits, code }) {
  const terms = { url, alias, validUntil: inUtc(validUntil), maxVisits: count(maxVisits) };
  if (!alias && code !== "short") terms.code = code;
  return Object.fromEntries(Object.entries(terms).filter(([name, value]) => name === "url" || (value !== "" && value !== undefined)));
}

// The browser tells local time without its zone.
function inUtc(local) {
  const time = new Date(local);
  return Number.isNaN(time.getTime()) ? local : time.toISOString();
}

// What is no count goes to the server as it is, which says what is wanted.
function count(text) {
  return /^\d+$/.test(text.trim()) ? Number(text) : text.trim();
}
