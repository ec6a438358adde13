
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const all = (selector) => Array.from(document.querySelectorAll(selector));
  const source = byId("data");
  const plots = all(".plot");
  if (!source || !plots.length) return;
  const data = JSON.parse(source.textContent);
  const audio = byId("audio"), play = byId("play"), seek = byId("seek"), now = byId("now"), rate = byId("rate");
  const readouts = new Map(all(".readout").map((node) => [Number(node.dataset.lane), node]));
  const MARKS = { positive: "▲", neutral: "●", negative: "▼" };
  let time = 0, pointed = null;

  const clock = (seconds) => {
    const whole = Math.floor(seconds + 1e-6), two = (n) => String(n).padStart(2, "0");
    const h = Math.floor(whole / 3600), m = Math.floor(whole / 60) % 60, s = whole % 60;
    return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
  };
  const fine = (seconds) => (data.duration < 10 ? `${seconds.toFixed(2)} s` : clock(seconds));
  const best = (labels, values) => {
    const i = values.indexOf(Math.max(...values));
    return `${labels[i]} ${(values[i] / 100).toFixed(2)}`;
  };
  const words = (lane, at) => {
    const column = lane.columns.find((c) => at < c[0]) || lane.columns[lane.columns.length - 1];
    if (!column || column.length < 2) return `${fine(at)} · no speech`;
    const parts = [fine(at), best(data.sentiments, column[1])];
    if (column[2].length) parts.push(best(lane.emotions, column[2]));
    const percent = (100 * at) / data.duration;
    const run = lane.current.filter((r) => r[0] <= percent).pop();
    if (run) parts.push(`last 30 s ${run[1] ? `${MARKS[run[1]] || ""} ${run[1]}` : "don't know"}`);
    return parts.join(" · ");
  };
  const place = (line, at) => {
    const x = `${((100 * at) / data.duration).toFixed(3)}%`;
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
    line.setAttribute("visibility", "visible");
  };
  const read = () => {
    const at = pointed === null ? time : pointed;
    readouts.forEach((node, lane) => { node.textContent = words(data.lanes[lane], at); });
  };
  const show = () => {
    for (const plot of plots) {
      place(plot.querySelector(".cursor"), time);
      if (audio && !audio.paused) continue; // a screen reader would speak over the call
      plot.setAttribute("aria-valuenow", time.toFixed(2));
      plot.setAttribute("aria-valuetext", words(data.lanes[Number(plot.dataset.lane)], time));
    }
    read();
    now.textContent = clock(time);
    seek.value = String(time);
    seek.setAttribute("aria-valuetext", clock(time));
  };
  const jump = (to) => {
    time = Math.min(Math.max(to, 0), data.duration);
    if (audio) audio.currentTime = time;
    show();
  };
  const toggle = () => {
    if (!audio) return;
    if (audio.paused) audio.play().catch(() => { byId("problem").hidden = false; });
    else audio.pause();
  };

  const at = (plot, event) => {
    const box = plot.getBoundingClientRect();
    return (data.duration * Math.min(Math.max(event.clientX - box.left, 0), box.width)) / box.width;
  };
  const keys = {
    ArrowLeft: () => time - 2.5, ArrowDown: () => time - 2.5, ArrowRight: () => time + 2.5, ArrowUp: () => time + 2.5,
    PageDown: () => time - 30, PageUp: () => time + 30, Home: () => 0, End: () => data.duration,
  };
  for (const plot of plots) {
    const hover = (event) => {
      pointed = at(plot, event);
      for (const other of plots) place(other.querySelector(".ghost"), pointed);
      read();
    };
    plot.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      pointed = null;
      jump(at(plot, event));
    });
    plot.addEventListener("pointermove", (event) => {
      if (event.pointerType === "mouse" && event.buttons & 1) jump(at(plot, event));
      else if (event.pointerType === "mouse") hover(event);
    });
    plot.addEventListener("pointerleave", () => {
      for (const other of plots) other.querySelector(".ghost").setAttribute("visibility", "hidden");
      pointed = null;
      read();
    });
    plot.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === " " || event.key === "Enter") toggle();
      else if (keys[event.key]) jump(keys[event.key]());
      else return;
      event.preventDefault();
    });
  }
  for (const button of all("[data-time]")) {
    button.addEventListener("click", () => {
      jump(Number(button.dataset.time));
      byId("player").scrollIntoView({ block: "nearest", behavior: "smooth" });
    });
  }
  seek.addEventListener("input", () => jump(Number(seek.value)));
  for (const node of [seek, now, byId("length"), play, rate]) if (node) node.hidden = false;

  if (audio) {
    audio.controls = false;
    audio.hidden = true;
    const follow = () => {
      time = Math.min(audio.currentTime, data.duration);
      show();
      if (!audio.paused) requestAnimationFrame(follow);
    };
    const state = () => {
      play.classList.toggle("on", !audio.paused);
      play.setAttribute("aria-label", audio.paused ? "Play" : "Pause");
    };
    play.addEventListener("click", toggle);
    rate.addEventListener("change", () => { audio.playbackRate = Number(rate.value); });
    for (const name of ["play", "pause", "ended"]) audio.addEventListener(name, state);
    audio.addEventListener("play", () => requestAnimationFrame(follow));
    audio.addEventListener("seeked", follow);
    audio.addEventListener("error", () => { byId("problem").hidden = false; play.disabled = true; });
    if (audio.error) byId("problem").hidden = false;
  }
  show();
})();
