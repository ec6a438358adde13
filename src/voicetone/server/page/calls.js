// Calls in progress: one card each, the most negative first, and the alerts of all.

import {
  byId, clock, draw, make, MARKS, nameOf, plural, say, score, SENTIMENTS, toneClass, toneWords, visible,
} from "./tools.js";

const SHOWN = 300; // s of a call's audio in a line
const SHORT = 120; // the same for calls that are not longer
const SORT_EVERY = 3000; // ms: an order that changes all the time can't be read
const MOST_ALERTS = 50;
const MOST_CARDS = 60; // of the most negative calls: a browser can't draw a thousand lines at once
const WIDTH = 300, HEIGHT = 60;

/** All calls that the feed told of, by id. */
export const calls = new Map();
const cards = new Map();
let announced = new Set();
let sorted = 0, held = false, fresh = true, ahead = 0;

/** The picture of one channel: words, a line of the last minutes, and the tone of the whole call. */
export class ChannelPicture {
  constructor() {
    this.name = make("bdi", { class: "who" });
    this.speaking = make("span", { class: "speaking" });
    this.word = make("span", { class: "word" });
    this.paths = SENTIMENTS.map((s) => draw("path", { class: `line l-${s}`, "vector-effect": "non-scaling-stroke" }));
    this.area = draw("path", { class: "under" });
    this.svg = draw(
      "svg", { class: "tone-line", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" },
      draw("path", { class: "rule", d: `M0 0.5H${WIDTH}M0 ${HEIGHT / 2}H${WIDTH}M0 ${HEIGHT - 0.5}H${WIDTH}`, "vector-effect": "non-scaling-stroke" }),
      this.area, ...this.paths,
    );
    this.since = make("span");
    this.values = SENTIMENTS.map(() => make("b"));
    const legend = SENTIMENTS.map((s, i) => make("li", { class: `t-${s}` },
      draw("svg", { class: "key", viewBox: "0 0 24 6", "aria-hidden": "true" }, draw("path", { class: `line l-${s}`, d: "M0 3H24" })),
      make("span", {}, `${MARKS[s]} ${s} `), this.values[i]));
    this.whole = make("p", { class: "whole small" });
    this.node = make("div", { class: "channel" },
      make("p", { class: "now" }, this.name, this.speaking, this.word),
      make("div", { class: "plot" },
        make("div", {}, this.svg, make("p", { class: "axis", "aria-hidden": "true" }, this.since, make("span", {}, "now"))),
        make("ul", { class: "legend" }, ...legend)),
      this.whole);
  }

  /** @param {object} channel as the feed tells it */
  show(channel) {
    say(this.name, visible(channel.name || `channel ${channel.channel}`));
    say(this.speaking, channel.speaking ? "speaking" : "quiet");
    say(this.word, toneWords(channel.label, channel.sentiment));
    this.word.className = `word ${toneClass(channel.label)}`;
    this.node.classList.toggle("is-speaking", Boolean(channel.speaking));
    SENTIMENTS.forEach((s, i) => say(this.values[i], channel.sentiment ? score(channel.sentiment[s]) : "–"));
    const overall = channel.overall;
    const words = overall && overall.sentiment
      ? `${toneWords(overall.label, overall.sentiment)} (${overall.label ? "" : "at most "}${score(overall.confidence)})`
      : "no speech yet";
    say(this.whole, `Whole call so far: ${words}`);
    this.line(channel.points || []);
  }

  line(points) {
    const last = points.length ? points[points.length - 1][0] : 0;
    const span = last > SHORT ? SHOWN : SHORT;
    const from = last - span;
    say(this.since, `${span / 60} min ago`);
    const seen = points.filter((p) => p[0] >= from);
    const x = (p) => ((WIDTH * (p[0] - from)) / span).toFixed(1);
    const y = (value) => (1 + (HEIGHT - 2) * (1 - Math.min(1, Math.max(0, value)))).toFixed(1);
    SENTIMENTS.forEach((s, i) => {
      const d = seen.length === 1
        ? `M${Math.max(0, x(seen[0]) - 6)} ${y(seen[0][i + 1])}H${x(seen[0])}`
        : seen.map((p, k) => `${k ? "L" : "M"}${x(p)} ${y(p[i + 1])}`).join("");
      this.paths[i].setAttribute("d", d);
    });
    const foot = seen.length > 1
      ? `M${x(seen[0])} ${HEIGHT}${seen.map((p) => `L${x(p)} ${y(p[3])}`).join("")}L${x(seen[seen.length - 1])} ${HEIGHT}z` : "";
    this.area.setAttribute("d", foot);
    this.svg.setAttribute("aria-label", seen.length
      ? `The last ${clock(Math.min(last, span))} minutes: negative from ${score(seen[0][3])} to ${score(seen[seen.length - 1][3])}, `
        + `positive from ${score(seen[0][1])} to ${score(seen[seen.length - 1][1])}`
      : "No speech yet");
  }
}

class Card {
  constructor() {
    this.title = make("bdi");
    this.where = make("span");
    this.time = make("span");
    this.alert = make("p", { class: "alert small" });
    this.body = make("div");
    this.pictures = [];
    this.node = make("li", { class: "panel call" },
      make("div", { class: "call-head" }, make("h3", {}, this.title),
        make("span", { class: "time" }, make("span", { class: "unseen" }, "for "), this.time)),
      make("p", { class: "small where" }, this.where),
      this.body, this.alert);
  }

  show(call) {
    say(this.title, nameOf(call));
    const parts = [call.queue ? `queue ${visible(call.queue)}` : "no queue", call.route];
    if (call.gap_seconds) parts.push(`${call.gap_seconds.toFixed(1)} s not heard`);
    say(this.where, parts.join(" · "));
    while (this.pictures.length < call.channels.length) {
      this.pictures.push(new ChannelPicture());
      this.body.append(this.pictures[this.pictures.length - 1].node);
    }
    call.channels.forEach((channel, i) => this.pictures[i].show(channel));
    const newest = call.alerts[call.alerts.length - 1];
    say(this.alert, newest ? `! ${alertWords(newest, call)}` : "No alert");
    this.node.classList.toggle("has-alert", Boolean(newest));
    this.tick(call);
  }

  tick(call) {
    say(this.time, clock((Date.now() + ahead - Date.parse(call.began)) / 1000));
  }
}

/** Take a message of the feed.
 *  @returns {boolean} whether a call has ended */
export function told(message) {
  ahead = Date.parse(message.now) - Date.now();
  if (message.type === "snapshot") {
    const here = new Set(message.calls.map((call) => call.id));
    for (const id of [...calls.keys()]) if (!here.has(id)) calls.delete(id);
  }
  let ended = false;
  for (const call of message.calls) {
    const before = calls.get(call.id);
    ended = ended || (Boolean(call.ended) && !(before && before.ended));
    calls.set(call.id, joined(before, call));
  }
  for (const id of message.gone || []) calls.delete(id);
  show();
  fresh = false; // what was there before the page is no news
  return ended;
}

function joined(before, call) {
  for (const channel of call.channels) {
    const old = before && before.channels.find((c) => c.channel === channel.channel);
    channel.total = channel.first + channel.points.length;
    if (old && channel.first === old.total) channel.points = old.points.concat(channel.points);
    const last = channel.points.length ? channel.points[channel.points.length - 1][0] : 0;
    channel.points = channel.points.filter((p) => p[0] >= last - SHOWN);
  }
  return call;
}

function distress(call) {
  return Math.max(-1, ...call.channels.map((c) => (c.sentiment ? c.sentiment.negative : -1)));
}

function show() {
  const live = liveCalls();
  for (const id of [...cards.keys()]) {
    const call = calls.get(id);
    if (!call || call.ended) drop(id);
  }
  const first = live.length > 0 && sorted === 0;
  for (const call of live) {
    if (!cards.has(call.id) && cards.size < MOST_CARDS && !first) add(call);
  }
  sort(first);
  for (const [id, card] of cards) card.show(calls.get(id));
  say(byId("live-count"), live.length ? `(${live.length})` : "");
  document.title = `${live.length ? `(${live.length}) ` : ""}voicetone: calls in progress`;
  byId("live-none").hidden = live.length > 0;
  byId("live-more").hidden = live.length <= MOST_CARDS;
  say(byId("live-more"), `The ${MOST_CARDS} most negative of ${live.length} calls are shown.`);
  showAlerts();
}

const liveCalls = () => [...calls.values()].filter((call) => !call.ended);

function add(call) {
  const card = new Card();
  card.show(call);
  cards.set(call.id, card);
  byId("calls").append(card.node);
}

function drop(id) {
  cards.get(id).node.remove();
  cards.delete(id);
}

/** Bring the cards into order, not too often and not while the viewer holds it. */
function sort(now) {
  if (!now && (held || Date.now() - sorted < SORT_EVERY)) return;
  sorted = Date.now();
  const order = liveCalls().sort((a, b) => distress(b) - distress(a) || (a.began < b.began ? -1 : 1)).slice(0, MOST_CARDS);
  const wanted = new Set(order.map((call) => call.id));
  for (const id of [...cards.keys()]) if (!wanted.has(id)) drop(id);
  const list = byId("calls");
  order.forEach((call, i) => {
    if (!cards.has(call.id)) add(call);
    const node = cards.get(call.id).node;
    if (list.children[i] !== node) list.insertBefore(node, list.children[i] || null);
  });
}

function alertWords(alert, call) {
  const channel = call.channels.length > 1 && call.channels.find((c) => c.channel === alert.channel);
  const who = channel ? `, ${visible(channel.name || `channel ${channel.channel}`)}` : "";
  const at = alert.at === null || alert.at === undefined ? "" : `at ${clock(alert.at)}, `;
  return `${at}${visible(alert.rule || "alert")}${who}: ${visible(alert.message || alert.kind || "")}`;
}

function showAlerts() {
  const all = [];
  for (const call of calls.values()) for (const alert of call.alerts) all.push([alert, call]);
  all.sort((a, b) => (a[0].time < b[0].time ? 1 : -1));
  const shown = all.slice(0, MOST_ALERTS);
  const key = ([alert, call]) => `${call.id} ${alert.seq}`;
  const news = shown.filter((one) => !announced.has(key(one)));
  announced = new Set(all.map(key));
  if (!news.length && byId("alert-list").children.length === shown.length) return;
  byId("alert-list").replaceChildren(...shown.map(([alert, call]) => make("li", {},
    make("bdi", { class: "who" }, nameOf(call)),
    make("time", { datetime: alert.time, class: "small" }, new Date(alert.time).toLocaleTimeString()),
    make("span", {}, alertWords(alert, call)))));
  byId("alert-list").hidden = !shown.length;
  byId("alerts-none").hidden = shown.length > 0;
  if (news.length && !fresh) {
    const [alert, call] = news[0];
    const more = news.length > 1 ? ` and ${plural(news.length - 1, "more alert", "more alerts")}` : "";
    say(byId("announcer"), `Alert, ${nameOf(call)}: ${alertWords(alert, call)}${more}`);
  }
}

byId("hold").addEventListener("click", () => {
  held = !held;
  byId("hold").setAttribute("aria-pressed", String(held));
  if (!held) sort(true);
});

setInterval(() => {
  for (const [id, card] of cards) card.tick(calls.get(id));
  sort(false);
}, 1000);
