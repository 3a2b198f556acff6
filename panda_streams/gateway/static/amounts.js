// Formats money, counts and times. Money stays text from end to end: no amount ever becomes a floating point number.

const MINUS = "\u2212";
const SYMBOLS = { INR: "₹", USD: "$", EUR: "€", GBP: "£" };

/** Rounds decimal text half up, away from zero, to `places`: ["-", "1234", "50"]; null if it is not a decimal. */
function rounded(text, places) {
  const match = /^(-?)(\d+)(?:\.(\d+))?$/.exec(text);
  if (!match) return null;
  const [, sign, whole, fraction = ""] = match;
  let digits = BigInt(whole + fraction.slice(0, places).padEnd(places, "0"));
  if (fraction.length > places && fraction[places] >= "5") digits += 1n;
  const all = digits.toString().padStart(places + 1, "0");
  return [digits === 0n ? "" : sign, all.slice(0, all.length - places), all.slice(all.length - places)];
}

/** Groups digits: the Indian way is the last three, then pairs (12,34,567). */
function grouped(digits, indian) {
  if (digits.length <= 3) return digits;
  const head = digits.slice(0, -3);
  const pattern = indian ? /\B(?=(\d{2})+$)/g : /\B(?=(\d{3})+$)/g;
  return `${head.replace(pattern, ",")},${digits.slice(-3)}`;
}

/** "1234567.891" in INR becomes "₹12,34,567.89"; with `signed`, a gain carries its plus. */
export function money(text, currency, { signed = false, symbol = true } = {}) {
  const parts = rounded(text, 2);
  if (parts === null) return text;
  const [sign, whole, fraction] = parts;
  const zero = /^0*$/.test(whole + fraction);
  const shown = sign ? MINUS : signed && !zero ? "+" : "";
  const unit = symbol ? (SYMBOLS[currency] ?? (currency ? `${currency} ` : "")) : "";
  return `${shown}${unit}${grouped(whole, currency === "INR")}.${fraction}`;
}

/** -1, 0 or 1: the sign of decimal text as it is shown. */
export function signOf(text) {
  const parts = rounded(text, 2);
  if (parts === null || /^0*$/.test(parts[1] + parts[2])) return 0;
  return parts[0] ? -1 : 1;
}

export function count(number) {
  return (number < 0 ? MINUS : "") + grouped(String(Math.abs(number)), true);
}

/** How long ago, in the largest unit that says enough: "3 s", "4 min", "2 h 05 min", "3 days". */
export function ago(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  return `${Math.floor(hours / 24)} days`;
}

const CLOCK = new Intl.DateTimeFormat("en-GB", {
  timeZone: "Asia/Kolkata", day: "2-digit", month: "short", year: "numeric",
  hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
});

/** A moment of the market, on its own clock: "16 Jun 2021, 09:15:00 IST". */
export function marketTime(ms) {
  return `${CLOCK.format(new Date(ms))} IST`;
}

/** The time of day of such a moment: "09:15:00". */
export function clockTime(ms) {
  return CLOCK.format(new Date(ms)).slice(-8);
}
