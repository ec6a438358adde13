// The feed of all calls: server-sent events, read by `fetch` so that the key can be in a header.

import { ask, Refused } from "./access.js";

const SILENCE = 40000; // ms; the server sends something every 15 s
const LONGEST_WAIT = 15000; // ms

/** Follow the calls for ever.
 *  @param {(message: object) => void} told for each message
 *  @param {(state: string, words: string) => void} changed `is-on`, `is-waiting` or `is-off`
 */
export async function follow(told, changed) {
  let wait = 1000;
  for (;;) {
    try {
      await read(told, () => {
        wait = 1000;
        changed("is-on", "Connected");
      });
      changed("is-off", "The connection ended; trying again …");
    } catch (error) {
      const why = error instanceof Refused ? error.message : "The connection is lost";
      changed("is-off", `${why}; trying again …`);
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
    wait = Math.min(wait * 2, LONGEST_WAIT);
  }
}

async function read(told, begun) {
  const stop = new AbortController();
  let timer = 0;
  try {
    const answer = await ask("v1/feed", { signal: stop.signal, cache: "no-store" });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      clearTimeout(timer);
      timer = setTimeout(() => stop.abort(), SILENCE);
      const { value, done } = await reader.read();
      if (done) return;
      const parts = (text + value).split("\n\n");
      text = parts.pop();
      for (const part of parts) {
        if (part.startsWith("data: ")) told(JSON.parse(part.slice(6)));
      }
      begun();
    }
  } finally {
    clearTimeout(timer);
    stop.abort();
  }
}
