// The microphone test: a call of one's own, over the same way as every other.

import { ask } from "./access.js";
import { ChannelPicture } from "./calls.js";
import { byId, say, score, SENTIMENTS, toneWords, visible } from "./tools.js";

const RATE = 16000; // Hz
const MOST_WAITING = 10 * 2 * RATE; // bytes: 10 s that the network has not taken

let run = null;

/** Make the button work; nothing is heard before the box is ticked. */
export function begin() {
  const consent = byId("consent"), button = byId("speak");
  consent.addEventListener("change", () => {
    if (run && !consent.checked) run.stop("Stopped, as you no longer agree.");
    button.disabled = !consent.checked && !run;
    if (!run) said(consent.checked ? "Ready." : "Tick the box first.");
  });
  button.addEventListener("click", () => {
    if (run) run.stop("Finishing …");
    else if (consent.checked) start();
  });
}

const said = (words) => say(byId("microphone-said"), words);

async function start() {
  const mine = new Run();
  run = mine;
  say(byId("speak"), "Stop");
  try {
    await mine.begin();
  } catch (error) {
    mine.over(problem(error));
  }
}

function problem(error) {
  if (error.name === "NotAllowedError") return "The browser was not allowed to use the microphone.";
  if (error.name === "NotFoundError") return "No microphone was found.";
  return `It did not work: ${error.message}.`;
}

class Run {
  constructor() {
    this.picture = new ChannelPicture();
    this.channel = { channel: 1, name: "you", speaking: false, label: null, sentiment: null, overall: null, points: [] };
    this.ending = false;
  }

  async begin() {
    if (!navigator.mediaDevices || !window.AudioContext) {
      throw new Error("browsers lend the microphone to pages over https and of this machine only");
    }
    said("Waiting for the microphone …");
    const wanted = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    this.stream = await navigator.mediaDevices.getUserMedia({ audio: wanted });
    if (this.ending) return this.silence();
    this.context = new AudioContext();
    await this.context.audioWorklet.addModule(new URL("worklet.js", import.meta.url));
    const { ticket } = await (await ask("v1/tickets", { method: "POST" })).json();
    if (this.ending) return this.silence();
    const address = new URL("v1/stream", location.href);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    address.hash = "";
    this.socket = new WebSocket(address, ["voicetone.v1", `voicetone.ticket.${ticket}`]);
    this.socket.addEventListener("open", () => this.send({
      type: "session.start", sample_rate: RATE, encoding: "s16le", channels: 1, channel_names: ["you"],
      consent: true, call: "microphone test",
    }));
    this.socket.addEventListener("message", (event) => this.told(JSON.parse(event.data)));
    this.socket.addEventListener("close", () => this.over(this.last || "The connection ended."));
  }

  send(message) {
    this.socket.send(JSON.stringify(message));
  }

  told(event) {
    const channel = this.channel;
    if (event.type === "session.created") {
      if (this.ending) return this.send({ type: "session.close" });
      this.listen();
      said("Speak. The first tone comes after 5 seconds.");
    } else if (event.type === "speech.start" || event.type === "speech.end") {
      channel.speaking = event.type === "speech.start";
    } else if (event.type === "tone") {
      channel.label = event.current.label;
      channel.sentiment = event.current.sentiment;
      channel.overall = event.overall;
      if (event.current.sentiment) channel.points.push([event.end, ...SENTIMENTS.map((s) => event.current.sentiment[s])]);
      if (!this.ending) said("Listening.");
    } else if (event.type === "error") {
      this.last = `The server says: ${visible(event.message)}.`;
    } else if (event.type === "session.closed") {
      this.closed(event);
    }
    this.picture.show(channel);
  }

  closed(event) {
    const overall = event.channels[0] && event.channels[0].overall;
    this.channel.overall = overall;
    this.channel.speaking = false;
    const words = overall && overall.sentiment
      ? `${toneWords(overall.label, overall.sentiment)}${overall.label ? ` (${score(overall.confidence)})` : ""}` : "no speech";
    this.last = `Done. As a whole: ${words}.`;
  }

  listen() {
    byId("own-tone").replaceChildren(this.picture.node);
    const source = this.context.createMediaStreamSource(this.stream);
    const node = new AudioWorkletNode(this.context, "sender", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
    node.port.addEventListener("message", ({ data }) => {
      if (this.ending || this.socket.readyState !== WebSocket.OPEN) return;
      byId("level").value = Math.sqrt(Math.min(1, data.peak));
      if (this.socket.bufferedAmount > MOST_WAITING) this.stop("The connection is too slow for sound.");
      else this.socket.send(data.audio);
    });
    node.port.start();
    source.connect(node);
  }

  stop(words) {
    if (this.ending) return;
    this.ending = true;
    said(words);
    this.silence();
    if (this.socket && this.socket.readyState === WebSocket.OPEN) this.send({ type: "session.close" });
    else if (!this.socket) this.over("Stopped.");
  }

  silence() {
    for (const track of this.stream ? this.stream.getTracks() : []) track.stop();
    if (this.context && this.context.state !== "closed") this.context.close();
    byId("level").value = 0;
  }

  over(words) {
    this.ending = true;
    this.silence();
    if (this.socket) this.socket.close();
    if (run !== this) return;
    run = null;
    say(byId("speak"), "Start");
    byId("speak").disabled = !byId("consent").checked;
    said(words);
  }
}
