// Streams raw 16-bit audio (8 kHz, one channel) to a voicetone server and tells its tone.
// Node has WebSocket, too (20 with --experimental-websocket, 22 as it is):
//   node client.js http://127.0.0.1:8765 call.raw
// From a page of the server's own origin or one in its `origins`, call stream() with a ticket:
// POST /v1/tickets gives one, so that no key is in the page. Without keys no ticket is needed.
async function stream(url, audio, told, { ticket, speed = 1, rate = 8000 } = {}) {
  const protocols = ticket ? ["voicetone.v1", `voicetone.ticket.${ticket}`] : [];
  const socket = new WebSocket(`${url.replace(/^http/, "ws")}/v1/stream`, protocols);
  const say = (type, more) => socket.send(JSON.stringify({ type, ...more }));
  return new Promise((resolve, reject) => {
    socket.onopen = () => say("session.start", { sample_rate: rate, consent: true });
    socket.onerror = () => reject(new Error("the server can't be reached, or refused"));
    socket.onclose = (event) => reject(new Error(`cut off: ${event.code} ${event.reason}`));
    socket.onmessage = async (message) => {
      const event = JSON.parse(message.data);
      told(event);
      if (event.type === "session.closed") resolve(event.channels[0].overall);
      if (event.type === "error" && event.fatal) reject(new Error(event.message));
      if (event.type !== "session.created") return;
      const step = rate / 5; // bytes of 100 ms
      for (let at = 0; at < audio.length && socket.readyState === 1; at += step) {
        socket.send(audio.slice(at, at + step));
        await new Promise((next) => setTimeout(next, 100 / speed));
      }
      if (socket.readyState === 1) say("session.close");
    };
  });
}

if (typeof process !== "undefined") {
  const [url, file, speed] = process.argv.slice(2);
  const audio = require("node:fs").readFileSync(file);
  const show = (event) => event.type === "tone" && console.log(event.end, event.current.label);
  stream(url, audio, show, { speed }).then((overall) => console.log("overall", overall.label));
}
