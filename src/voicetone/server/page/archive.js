// The archive in a few figures: how negative calls were by day and queue, and where they turn so.

import { ask } from "./access.js";
import { byId, draw, make, percent, plural, say, visible } from "./tools.js";

const DAY = 86400;
const queues = new Set();

/** @param {boolean} store whether this server keeps results */
export function begin(store) {
  if (!store) {
    say(byId("archive-said"), "This server has no store, so nothing is counted.");
    for (const id of ["days", "queue", "again"]) byId(id).disabled = true;
    return;
  }
  for (const id of ["days", "queue"]) byId(id).addEventListener("change", count);
  byId("again").addEventListener("click", count);
  count();
}

async function count() {
  const since = (Date.now() / 1000 - DAY * Number(byId("days").value)).toFixed(0);
  const queue = byId("queue").value;
  try {
    const answer = await ask(`v1/archive?since=${since}${queue ? `&queue=${encodeURIComponent(queue)}` : ""}`);
    show(await answer.json());
  } catch (error) {
    say(byId("archive-said"), `The archive could not be read: ${error.message}.`);
  }
}

function show(found) {
  for (const { queue } of found.days) if (queue !== null) offer(queue);
  const { total } = found;
  const negative = total.negative === null ? "no speech" : `${percent(total.negative)} negative on average`;
  say(byId("archive-said"), total.calls
    ? `${plural(total.calls, "call", "calls")}, ${hours(total.speech_seconds)} of speech, ${negative}; `
      + `${total.negative_calls} negative as a whole, ${total.turned_calls} turned negative and stayed so.`
    : "No call ended in this time.");
  byId("archive-picture").replaceChildren(...(total.turned_calls ? [picture(total.turned_at)] : []));
  byId("archive-table").replaceChildren(...(total.calls ? [table(found.days)] : []));
}

function offer(queue) {
  if (queues.has(queue)) return;
  queues.add(queue);
  byId("queue").append(make("option", { value: queue }, visible(queue)));
}

function hours(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  return seconds < 3600 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

/** How many calls turned negative in each tenth of their length. */
function picture(counts) {
  const most = Math.max(...counts);
  const rows = counts.map((n, i) => make("li", {},
    make("span", {}, `${10 * i} to ${10 * i + 10} %`), bar("turned", n / most), make("b", {}, String(n))));
  return make("figure", {},
    make("figcaption", { class: "small" }, "How much of the call was over when it turned negative, and how many calls did so there"),
    make("ol", { class: "tenths" }, ...rows));
}

function bar(kind, part) {
  return draw("svg", { class: kind, viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    draw("rect", { class: "ground", width: 100, height: 10 }), draw("rect", { class: "bar", width: 100 * part, height: 10 }));
}

function table(days) {
  const heads = ["Day (UTC)", "Queue", "Calls", "Speech", "Negative on average", "Negative as a whole", "Turned negative"];
  const body = days.map((day) => make("tr", {},
    make("th", { scope: "row" }, day.day),
    make("td", {}, day.queue === null ? "none" : make("bdi", {}, visible(day.queue))),
    make("td", {}, String(day.calls)), make("td", {}, hours(day.speech_seconds)), share(day.negative),
    make("td", {}, String(day.negative_calls)), make("td", {}, String(day.turned_calls))));
  return make("table", {}, make("caption", { class: "unseen" }, "Calls by day and queue"),
    make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))),
    make("tbody", {}, ...body));
}

function share(value) {
  if (value === null) return make("td", {}, "no speech");
  return make("td", {}, bar("share", value), ` ${percent(value)}`);
}
