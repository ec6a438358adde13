// From the microphone's rate to 16 kHz, piece by piece: a windowed-sinc low-pass, read at the times
// of the new samples. The kernel is tabulated; between its entries it is linear.

const CROSSINGS = 32; // of zero on each side: the steepness
const STEPS = 256; // of the table per input sample
const PASSED = 0.92; // of the new band; the rest is the slope

export class Resampler {
  /** @param {number} from Hz, at least `to`
   *  @param {number} to Hz */
  constructor(from, to = 16000) {
    this.ratio = from / to;
    const cutoff = Math.min(1, 1 / this.ratio) * PASSED; // of the input's Nyquist frequency
    this.half = Math.ceil(CROSSINGS / cutoff);
    this.table = kernel(cutoff, this.half);
    this.kept = new Float32Array(this.half); // silence before the first sample
    this.next = this.half; // place of the next new sample in `kept` and what comes, in input samples
  }

  /** New samples that have become complete.
   *  @param {Float32Array} samples
   *  @returns {Float32Array} */
  push(samples) {
    if (this.ratio === 1) return samples;
    const all = new Float32Array(this.kept.length + samples.length);
    all.set(this.kept);
    all.set(samples, this.kept.length);
    const count = Math.max(0, Math.ceil((all.length - this.half - this.next) / this.ratio));
    const made = new Float32Array(count);
    for (let i = 0; i < count; i++) made[i] = this.at(all, this.next + i * this.ratio);
    const next = this.next + count * this.ratio;
    const drop = Math.max(0, Math.floor(next) - this.half);
    this.kept = all.slice(drop);
    this.next = next - drop;
    return made;
  }

  at(all, place) {
    const first = Math.max(0, Math.ceil(place - this.half));
    const last = Math.min(all.length - 1, Math.floor(place + this.half));
    let sum = 0;
    for (let i = first; i <= last; i++) {
      const x = Math.abs(i - place) * STEPS;
      const j = Math.floor(x);
      sum += all[i] * (this.table[j] + (x - j) * (this.table[j + 1] - this.table[j]));
    }
    return sum;
  }
}

/** Sinc under a Blackman window, from its middle outwards. */
function kernel(cutoff, half) {
  const table = new Float32Array(half * STEPS + 2);
  for (let j = 0; j <= half * STEPS; j++) {
    const t = j / STEPS;
    const angle = Math.PI * cutoff * t;
    const sinc = angle ? Math.sin(angle) / angle : 1;
    const x = (Math.PI * t) / half;
    table[j] = cutoff * sinc * (0.42 + 0.5 * Math.cos(x) + 0.08 * Math.cos(2 * x));
  }
  return table;
}

/** Samples of full scale ±1 as s16le, which is what all these machines hold numbers in. */
export function toInt16(samples) {
  const made = new Int16Array(samples.length);
  for (let i = 0; i < samples.length; i++) {
    made[i] = Math.max(-32768, Math.min(32767, Math.round(samples[i] * 32768)));
  }
  return made;
}
