// Pounds as text, exactly: no amount ever becomes a floating-point number.

/** An amount as the page shows it: "1234.5" becomes "£1,234.50". */
export function formatPounds(amount) {
  const pence = toPence(amount);
  const pounds = (pence / 100n).toLocaleString("en-GB");
  return `£${pounds}.${String(pence % 100n).padStart(2, "0")}`;
}

/** The exact sum of amounts, again as text. */
export function sumPounds(amounts) {
  const pence = amounts.reduce((sum, amount) => sum + toPence(amount), 0n);
  return `${pence / 100n}.${String(pence % 100n).padStart(2, "0")}`;
}

function toPence(amount) {
  const [pounds, pence = ""] = amount.split(".");
  return BigInt(pounds + pence.padEnd(2, "0"));
}
