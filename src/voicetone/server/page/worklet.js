// In the browser's audio thread: the microphone's samples as pieces of 100 ms at 16 kHz, s16le.

import { Resampler, toInt16 } from "./resample.js";

const PIECE = 1600; // samples

class Sender extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(sampleRate);
    this.piece = new Float32Array(PIECE);
    this.filled = 0;
  }

  process(inputs) {
    const input = inputs[0] && inputs[0][0];
    if (!input) return true;
    for (const sample of this.resampler.push(input)) {
      this.piece[this.filled++] = sample;
      if (this.filled === PIECE) this.send();
    }
    return true;
  }

  send() {
    let peak = 0;
    for (const sample of this.piece) peak = Math.max(peak, Math.abs(sample));
    const audio = toInt16(this.piece).buffer;
    this.port.postMessage({ audio, peak }, [audio]);
    this.filled = 0;
  }
}

registerProcessor("sender", Sender);
