// Small things that all parts of the page use. Text from calls goes into the page as text only.

export const MARKS = { positive: "▲", neutral: "●", negative: "▼" };
export const SENTIMENTS = ["positive", "neutral", "negative"];

export const byId = (id) => document.getElementById(id);

/** An element with attributes and children; strings become text, never markup. */
export function make(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for pictures. */
export function draw(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Set an element's text if it is another one: what stays the same is not touched. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Text without what would break a line or turn the direction of reading. */
export function visible(text) {
  return String(text).replace(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]+/g, "\ufffd");
}

/** Seconds as 0:32, 12:05 or 1:02:03. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds + 1e-6));
  const two = (n) => String(n).padStart(2, "0");
  const h = Math.floor(whole / 3600), m = Math.floor(whole / 60) % 60, s = whole % 60;
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** A moment in the viewer's own time: today's without the day. */
export function moment(time) {
  const date = new Date(time);
  const today = date.toDateString() === new Date().toDateString();
  const hour = { hour: "2-digit", minute: "2-digit" };
  const day = { year: "numeric", month: "short", day: "numeric" };
  return date.toLocaleString(undefined, today ? { ...hour, second: "2-digit" } : { ...day, ...hour });
}

/** What a call is called. */
export function nameOf(call) {
  return visible(call.external || `call ${String(call.id).slice(0, 8)}`);
}

/** A tone in words with its mark: the label, or that there is none. */
export function toneWords(label, sentiment) {
  if (!sentiment) return "– no speech yet";
  if (!label) return "? don't know";
  return `${MARKS[label] || ""} ${label}`.trim();
}

/** The class of a label, for its colour. */
export function toneClass(label) {
  return SENTIMENTS.includes(label) ? `is-${label}` : "is-none";
}

export const score = (value) => (value || 0).toFixed(2);
export const percent = (value) => `${Math.round(100 * value)} %`;
export const plural = (n, one, many) => `${n} ${n === 1 ? one : many}`;
