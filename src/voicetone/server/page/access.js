// The key, if this server wants one, and requests that bear it. Never in an address.

import { byId, say } from "./tools.js";

const PLACE = "voicetone-key";
let waiting = [];

/** What the server refused, with its code. */
export class Refused extends Error {
  constructor(status, said) {
    super(said.message || `the server answered ${status}`);
    this.status = status;
    this.code = said.code || "";
  }
}

/** Ask the server; asks the viewer for a key first, where one is needed.
 *  @param {string} path relative to this page
 *  @param {RequestInit} options of `fetch`
 */
export async function ask(path, options = {}) {
  for (;;) {
    const key = sessionStorage.getItem(PLACE);
    const headers = key ? { Authorization: `Bearer ${key}` } : {};
    const answer = await fetch(path, { ...options, headers: { ...headers, ...options.headers } });
    if (answer.ok) return answer;
    const said = await answer.json().catch(() => ({}));
    if (answer.status !== 401) throw new Refused(answer.status, said);
    if (sessionStorage.getItem(PLACE) !== key) continue; // another one has come meanwhile
    sessionStorage.removeItem(PLACE);
    await keyGiven(key ? "This key is not known here." : "");
  }
}

/** Show the form unless a key is there, and wait for one. */
export async function enter() {
  if (!sessionStorage.getItem(PLACE)) await keyGiven("");
}

function keyGiven(problem) {
  byId("access").hidden = false;
  byId("main").hidden = true;
  say(byId("key-problem"), problem);
  byId("key").setAttribute("aria-invalid", problem ? "true" : "false");
  byId("key").focus();
  return new Promise((resolve) => waiting.push(resolve));
}

byId("access").addEventListener("submit", (event) => {
  event.preventDefault();
  const key = byId("key").value.trim();
  if (!/^[\x21-\x7e]+$/.test(key)) {
    say(byId("key-problem"), "A key is one word of letters, digits and signs.");
    return;
  }
  sessionStorage.setItem(PLACE, key);
  byId("key").value = "";
  byId("access").hidden = true;
  byId("main").hidden = false;
  const served = waiting;
  waiting = [];
  for (const go of served) go();
});
