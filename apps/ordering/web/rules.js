// What may be sent, said in the customer's words before a request is made.
//
// The server decides; these rules only spare a round trip, and never refuse what the server would accept.
// Each answers with the complaint, or with nothing.

const LABEL_LENGTH_MAX = 200;
const CUSTOMER_LENGTH_MAX = 100;

export function labelProblem(text) {
  return textProblem(text, { empty: "Enter what you would like to order.", lengthMax: LABEL_LENGTH_MAX });
}

export function customerProblem(text) {
  return textProblem(text, { empty: "Enter a customer.", lengthMax: CUSTOMER_LENGTH_MAX });
}

/** Judges a price as `normalPrice` leaves it. */
export function priceProblem(price) {
  if (price === "") return "Enter a price.";
  if (/^-/.test(price)) return "A price cannot be negative.";
  if (/^\d+,\d{1,2}$/.test(price)) return `Use a point before the pence, as in ${price.replace(",", ".")}.`;
  if (/^\d+\.\d{3,}$/.test(price)) return "Use at most two decimals: pounds and pence.";
  if (!/^\d+(\.\d{1,2})?$/.test(price)) return "Enter the price in pounds, such as 4.50.";
  return undefined;
}

/** A price without what people write around it: spaces, the pound sign, commas between thousands, a bare point. */
export function normalPrice(text) {
  let price = text.trim().replace(/^£\s*/, "");
  if (/^\d{1,3}(,\d{3})+(\.\d*)?$/.test(price)) price = price.replaceAll(",", "");
  return price.replace(/^\./, "0.").replace(/^(\d+)\.$/, "$1");
}

/** A name or label as the server compares it. */
export function normalText(text) {
  return text.trim().normalize("NFC");
}

function textProblem(text, { empty, lengthMax }) {
  const normal = normalText(text);
  const length = [...normal].length;
  if (length === 0) return empty;
  if (length > lengthMax) {
    return `Use at most ${lengthMax} characters; this has ${length.toLocaleString("en-GB")}.`;
  }
  if (/\p{Cc}/u.test(normal)) return "Remove the control characters, such as tabs or line breaks.";
  return undefined;
}
