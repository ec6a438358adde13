// Begins: asks what kind of server this is, for a key where one is needed, then follows the calls.

import { enter } from "./access.js";
import * as archive from "./archive.js";
import { told } from "./calls.js";
import { follow } from "./feed.js";
import * as history from "./history.js";
import * as microphone from "./microphone.js";
import { byId, say } from "./tools.js";

function status(state, words) {
  byId("status").className = `status ${state}`;
  say(byId("status"), words);
}

async function about() {
  for (;;) {
    try {
      const answer = await fetch("v1/page", { cache: "no-store" });
      if (answer.ok) return await answer.json();
    } catch {
      // the server is away: its absence is shown, and it is asked again
    }
    status("is-off", "The server does not answer; trying again …");
    await new Promise((resolve) => setTimeout(resolve, 3000));
  }
}

const server = await about();
say(byId("notice"), server.notice);
say(byId("version"), `voicetone ${server.version}`);
if (server.keys) {
  status("is-waiting", "Waiting for a key");
  await enter();
}
byId("main").hidden = false;
status("is-waiting", "Connecting …");
microphone.begin();
history.begin(server.store);
archive.begin(server.store);
follow((message) => { if (told(message)) history.ended(); }, status);
