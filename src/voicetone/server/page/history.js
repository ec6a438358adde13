// Calls that have ended, the newest first: those of the store, and those that ended just now.

import { ask } from "./access.js";
import { calls } from "./calls.js";
import { byId, clock, make, moment, nameOf, plural, say, score, toneClass, toneWords, visible } from "./tools.js";

const PAGE = 20;
const REASONS = {
  client: "ended by the caller's side", gone: "the connection was lost", idle_timeout: "no sound came any more",
  call_too_long: "longer than this server allows", draining: "the server went down",
  model_failed: "the model failed on it", bad_messages: "its messages could not be read",
};
const rows = new Map(); // what is shown: id → [what it was made of, its element]
let stored = [], more = false, kept = false, timer = 0, latest = 0;

/** @param {boolean} store whether this server keeps results */
export function begin(store) {
  kept = store;
  byId("older").addEventListener("click", older);
  byId("report-close").addEventListener("click", () => byId("report").close());
  byId("report").addEventListener("close", () => { byId("report-page").srcdoc = ""; });
  refresh();
}

/** A call has ended: show it at once, and soon as the store has it. */
export function ended() {
  show();
  clearTimeout(timer);
  timer = setTimeout(refresh, 1200);
}

async function refresh() {
  if (!kept) return show();
  const asked = ++latest;
  try {
    const found = await past(Math.min(500, Math.max(PAGE, stored.length)), "");
    if (asked !== latest) return;
    stored = found;
    say(byId("history-said"), "");
  } catch (error) {
    say(byId("history-said"), `The calls could not be read: ${error.message}.`);
  }
  show();
}

async function older() {
  const last = stored[stored.length - 1];
  latest++;
  byId("older").disabled = true;
  try {
    const before = last ? `&before=${encodeURIComponent(last.cursor)}` : "";
    stored = stored.concat(await past(PAGE, before));
    say(byId("history-said"), `${plural(stored.length, "call", "calls")} shown.`);
  } catch (error) {
    say(byId("history-said"), `Older calls could not be read: ${error.message}.`);
  }
  byId("older").disabled = false;
  show();
}

async function past(limit, before) {
  const answer = await ask(`v1/calls?past=true&limit=${limit}${before}`);
  const found = (await answer.json()).calls;
  more = found.length === limit;
  return found;
}

function show() {
  const known = new Map();
  for (const call of calls.values()) if (call.ended) known.set(call.id, fromFeed(call));
  for (const call of stored) {
    const live = calls.get(call.id);
    if (!(live && !live.ended) && (call.ended !== null || !known.has(call.id))) known.set(call.id, fromStore(call));
  }
  place([...known.values()].sort((a, b) => b.began - a.began));
  byId("older").hidden = !more;
  if (!known.size) say(byId("history-said"), "None yet.");
  else if (!kept) say(byId("history-said"), "This server has no store: these are forgotten when it stops, and have no report.");
  else if (byId("history-said").textContent === "None yet.") say(byId("history-said"), "");
}

/** Put the calls in their place; what stays is not touched, so that it keeps the focus. */
function place(list) {
  const here = byId("past"), wanted = new Set(list.map((call) => call.id));
  for (const call of list) {
    const made = JSON.stringify(call), old = rows.get(call.id);
    if (old && old[0] === made) continue;
    const node = row(call);
    if (old) old[1].replaceWith(node);
    rows.set(call.id, [made, node]);
  }
  for (const [id, [, node]] of [...rows]) {
    if (wanted.has(id)) continue;
    node.remove();
    rows.delete(id);
  }
  list.forEach((call, i) => {
    const node = rows.get(call.id)[1];
    if (here.children[i] !== node) here.insertBefore(node, here.children[i] || null);
  });
}

function fromFeed(call) {
  return {
    id: call.id, name: nameOf(call), queue: call.queue, began: Date.parse(call.began), alerts: call.alerts.length,
    duration: call.ended.duration, reason: call.ended.reason, report: false,
    tones: call.channels.map((c) => ({
      who: c.name || `channel ${c.channel}`, label: c.overall && c.overall.label,
      sentiment: c.overall && c.overall.sentiment, turned: null,
    })),
  };
}

function fromStore(call) {
  return {
    id: call.id, name: nameOf(call), queue: call.queue, began: 1000 * call.began, alerts: call.alerts,
    duration: call.duration, reason: call.reason, report: true,
    tones: call.tone.map((t) => ({
      who: (call.names && call.names[t.channel - 1]) || `channel ${t.channel}`, label: t.label,
      sentiment: t.negative === null ? null : { negative: t.negative }, turned: t.turned,
    })),
  };
}

function row(call) {
  const lasted = call.duration === null ? "" : `${clock(call.duration)} long`;
  const how = call.reason === null || call.reason === undefined ? "its end was not heard" : REASONS[call.reason] || visible(call.reason);
  const facts = [moment(call.began), lasted, call.queue ? `queue ${visible(call.queue)}` : "", how,
    call.alerts ? plural(call.alerts, "alert", "alerts") : ""];
  const tones = call.tones.map((t) => make("span", { class: "tone" },
    make("bdi", {}, visible(t.who)), ": ",
    make("b", { class: toneClass(t.label) }, t.sentiment ? toneWords(t.label, t.sentiment) : "no speech"),
    t.sentiment ? `, negative ${score(t.sentiment.negative)}` : "",
    t.turned === null ? "" : `, turned negative at ${clock(t.turned)}`));
  const button = make("button", { type: "button", "aria-label": `Report of ${call.name}` }, "Report");
  button.disabled = !call.report;
  button.addEventListener("click", () => open(call));
  return make("li", {},
    make("div", {}, make("h3", {}, make("bdi", {}, call.name)),
      make("p", { class: "small" }, facts.filter(Boolean).join(" · ")),
      make("p", { class: "tones" }, ...(tones.length ? tones : ["no channel was analysed"]))),
    button);
}

/** The report lies in a frame that has no rights but to run its own script. */
async function open(call) {
  const frame = byId("report-page");
  say(byId("report-title"), `Report of ${call.name}`);
  say(byId("report-said"), "The report is being made …");
  byId("report-notes").replaceChildren();
  frame.hidden = true;
  byId("report").showModal();
  try {
    const made = await (await ask(`v1/calls/${encodeURIComponent(call.id)}/report`)).json();
    if (!byId("report").open) return;
    frame.srcdoc = made.html;
    frame.hidden = false;
    say(byId("report-said"), "");
    byId("report-notes").replaceChildren(...notes(made));
  } catch (error) {
    say(byId("report-said"), `There is no report: ${error.message}.`);
  }
}

function notes(made) {
  const lines = made.alerts.map((a) => `Alert at ${clock(a.at || 0)}, ${visible(a.rule || "")}: ${visible(a.message || a.kind || "")}`);
  for (const gap of made.gaps) lines.push(`Not heard from ${clock(gap.start)} to ${clock(gap.end)} (${visible(gap.reason)})`);
  return lines.length ? [make("ul", {}, ...lines.map((line) => make("li", {}, line)))] : [];
}
