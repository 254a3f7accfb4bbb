// LeNet-5 with the paper's names, as lenet/training/model.py has it: forwards, and backwards to
// the image. Numbers are float64, so that only the weights are rounded.
import { numbersOf } from "./bytes.mjs";
import { SQUASHES } from "./activation.mjs";

/** @typedef {import("./activation.mjs").Squash} Squash */

/**
 * A network as the page's file carries it: levels of its structure, names and shapes of
 * its tensors, and all their numbers in one text.
 * @typedef {{
 *   levels: Record<string, string>,
 *   inputs: { C1: number[][], C3: number[][] },
 *   bitmaps: number[][] | null,
 *   tensors: [string, number][],
 *   numbers: string,
 * }} Described
 */

/**
 * Numbers of a layer: one after the other, map by map and row by row.
 * @typedef {Float64Array} Signal
 */

/**
 * A layer's output, and what is needed to go back through it.
 * @typedef {{ output: Signal, back: (slopes: Signal) => Signal }} Step
 */

/**
 * A layer from its input.
 * @typedef {(input: Signal) => Step} Layer
 */

/**
 * @typedef {{
 *   described: Described,
 *   weights: Record<string, Signal>,
 *   layers: [LayerName, Layer][],
 *   scale: number,
 *   shift: number,
 * }} Network
 */

/**
 * What every layer gives for an image, and the way back.
 * @typedef {{ outputs: Record<LayerName, Signal>, steps: Step[], scale: number }} Seen
 */

/** @typedef {"C1" | "S2" | "C3" | "S4" | "C5" | "F6" | "output"} LayerName */

/** @type {LayerName[]} */
export const LAYERS = ["C1", "S2", "C3", "S4", "C5", "F6", "output"];
/** Maps and their side, of the layers that have maps. */
export const MAPS = { C1: [6, 28], S2: [6, 14], C3: [16, 10], S4: [16, 5] };
export const SIDE = 28;
const PADDED = 32;
const EPSILON = 1e-5; // of batch norm, as in lenet/training/factor/norm.py

/**
 * The network that a description stands for.
 * @param {Described} described
 * @returns {Network}
 */
export function networkOf(described) {
  const { levels, inputs, bitmaps } = described;
  const weights = tensorsOf(described);
  const squash = squashOf(levels.activation);
  const scaled = levels.head.startsWith("rbf");
  /** @type {[LayerName, Layer][]} */
  const layers = [
    ["C1", convolution(weights, "C1", inputs.C1, PADDED, squash)],
    ["S2", subsampling(weights, "S2", MAPS.S2, levels.pooling, squash)],
    ["C3", convolution(weights, "C3", inputs.C3, MAPS.S2[1], squash)],
    ["S4", subsampling(weights, "S4", MAPS.S4, levels.pooling, squash)],
    ["C5", dense(weights["C5.weight"], weights["C5.bias"], squash)],
    ["F6", dense(weights["F6.weight"], weights["F6.bias"], scaled ? SQUASHES.scaled_tanh : squash)],
    [
      "output",
      bitmaps
        ? radialBasis(bitmaps)
        : dense(weights["output.weight"], weights["output.bias"], null),
    ],
  ];
  return {
    described,
    weights,
    layers,
    scale: weights["input.scale"][0],
    shift: weights["input.shift"][0],
  };
}

/**
 * The tensors of a description by name.
 * @param {Described} described
 * @returns {Record<string, Signal>}
 */
function tensorsOf({ tensors, numbers }) {
  const all = Float64Array.from(numbersOf(numbers));
  let from = 0;
  return Object.fromEntries(
    tensors.map(([name, count]) => [name, all.subarray(from, (from += count))]),
  );
}

/**
 * A squashing function by its level.
 * @param {string} level
 * @returns {Squash}
 */
function squashOf(level) {
  const squash = SQUASHES[level];
  if (!squash) throw new Error(`activation ${level} is unknown to the page`);
  return squash;
}

/**
 * What every layer gives for an image of 28x28 pixels in [0, 1].
 * @param {Network} network
 * @param {ArrayLike<number>} image
 * @returns {Seen}
 */
export function forward(network, image) {
  let signal = padded(network, image);
  const outputs = /** @type {Record<LayerName, Signal>} */ ({});
  const steps = network.layers.map(([name, layer]) => {
    const step = layer(signal);
    signal = outputs[name] = step.output;
    return step;
  });
  return { outputs, steps, scale: network.scale };
}

/**
 * The image as the network takes it: 32x32, with a border of background.
 * @param {Network} network
 * @param {ArrayLike<number>} image
 * @returns {Signal}
 */
function padded({ scale, shift }, image) {
  const signal = new Float64Array(PADDED * PADDED).fill(shift);
  for (let y = 0; y < SIDE; y++) {
    for (let x = 0; x < SIDE; x++) {
      signal[(y + 2) * PADDED + x + 2] = image[y * SIDE + x] * scale + shift;
    }
  }
  return signal;
}

/**
 * The derivative of sum_i slopes_i logit_i by the pixels, and by every layer's output.
 * @param {Seen} seen
 * @param {Signal} slopes
 * @returns {{ pixels: Signal, layers: Record<LayerName, Signal> }}
 */
export function backward(seen, slopes) {
  const layers = /** @type {Record<LayerName, Signal>} */ ({});
  let signal = slopes;
  for (let at = LAYERS.length - 1; at >= 0; at--) {
    layers[LAYERS[at]] = signal;
    signal = seen.steps[at].back(signal);
  }
  const pixels = new Float64Array(SIDE * SIDE);
  for (let y = 0; y < SIDE; y++) {
    for (let x = 0; x < SIDE; x++) {
      pixels[y * SIDE + x] = signal[(y + 2) * PADDED + x + 2] * seen.scale;
    }
  }
  return { pixels, layers };
}

/**
 * The class that is read: that of the largest logit.
 * @param {ArrayLike<number>} logits
 * @returns {number}
 */
export function answer(logits) {
  let best = 0;
  for (let at = 1; at < logits.length; at++) if (logits[at] > logits[best]) best = at;
  return best;
}

/**
 * Each class's share in the softmax of the logits.
 * @param {ArrayLike<number>} logits
 * @returns {number[]}
 */
export function shares(logits) {
  const largest = logits[answer(logits)];
  const powers = Array.from(logits, (logit) => Math.exp(logit - largest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

/**
 * The squash of sums, with the way back through it.
 * @param {Signal} sums
 * @param {Squash | null} squash
 * @param {(slopes: Signal) => Signal} back through the sums
 * @returns {Step}
 */
function squashed(sums, squash, back) {
  if (!squash) return { output: sums, back };
  return {
    output: sums.map(squash.value),
    back: (slopes) => back(slopes.map((slope, at) => slope * squash.slope(sums[at]))),
  };
}

/**
 * C1 and C3: a 5x5 kernel from each listed input to a map, norm, squash.
 * @param {Record<string, Signal>} weights
 * @param {"C1" | "C3"} name
 * @param {number[][]} inputs the maps that feed each map
 * @param {number} side of an input
 * @param {Squash} squash
 * @returns {Layer}
 */
function convolution(weights, name, inputs, side, squash) {
  const kernels = weights[`${name}.weight`];
  const { factors, biases } = normOf(weights, name);
  const out = side - 4;
  const count = Math.max(...inputs.flat()) + 1;
  const size = side * side;
  return (signal) => {
    const sums = new Float64Array(inputs.length * out * out);
    biases.forEach((bias, map) => sums.fill(bias, map * out * out, (map + 1) * out * out));
    eachKernelRow(inputs, (map, input, row, at) => {
      const [a, b, c, d, e] = rowOf(kernels, at, factors[map]);
      for (let y = 0; y < out; y++) {
        const to = (map * out + y) * out;
        const from = input * size + (y + row) * side;
        for (let x = 0; x < out; x++) {
          const f = from + x;
          sums[to + x] +=
            a * signal[f] +
            b * signal[f + 1] +
            c * signal[f + 2] +
            d * signal[f + 3] +
            e * signal[f + 4];
        }
      }
    });
    return squashed(sums, squash, (slopes) => {
      const before = new Float64Array(count * size);
      eachKernelRow(inputs, (map, input, row, at) => {
        const [a, b, c, d, e] = rowOf(kernels, at, factors[map]);
        for (let y = 0; y < out; y++) {
          const from = (map * out + y) * out;
          const to = input * size + (y + row) * side;
          for (let x = 0; x < out; x++) {
            const slope = slopes[from + x];
            const t = to + x;
            before[t] += a * slope;
            before[t + 1] += b * slope;
            before[t + 2] += c * slope;
            before[t + 3] += d * slope;
            before[t + 4] += e * slope;
          }
        }
      });
      return before;
    });
  };
}

/**
 * Do something for each row of each kernel: its map, its input, its number in the
 * kernel, and where its five weights begin.
 * @param {number[][]} inputs
 * @param {(map: number, input: number, row: number, at: number) => void} act
 */
function eachKernelRow(inputs, act) {
  let at = 0;
  inputs.forEach((feeding, map) =>
    feeding.forEach((input) => {
      for (let row = 0; row < 5; row++, at += 5) act(map, input, row, at);
    }),
  );
}

/**
 * Five weights, times a factor.
 * @param {Signal} kernels
 * @param {number} at
 * @param {number} factor
 */
function rowOf(kernels, at, factor) {
  return [
    kernels[at] * factor,
    kernels[at + 1] * factor,
    kernels[at + 2] * factor,
    kernels[at + 3] * factor,
    kernels[at + 4] * factor,
  ];
}

/**
 * What batch norm does to a layer's sums: a factor and a bias of each map; without it
 * the factors are 1.
 * @param {Record<string, Signal>} weights
 * @param {"C1" | "C3"} name
 * @returns {{ factors: Signal, biases: Signal }}
 */
function normOf(weights, name) {
  const biases = weights[`${name}.bias`];
  const variances = weights[`${name}.var`];
  if (!variances) return { factors: biases.map(() => 1), biases };
  const factors = variances.map((variance) => 1 / Math.sqrt(variance + EPSILON));
  const means = weights[`${name}.mean`];
  return { factors, biases: biases.map((bias, map) => bias - means[map] * factors[map]) };
}

/**
 * S2 and S4: four neighbours to one; in 1998 times a coefficient, plus a bias, squashed.
 * @param {Record<string, Signal>} weights
 * @param {"S2" | "S4"} name
 * @param {number[]} maps their count and side
 * @param {string} level of pooling
 * @param {Squash} squash
 * @returns {Layer}
 */
function subsampling(weights, name, [count, side], level, squash) {
  const pool = POOLS[level];
  if (!pool) throw new Error(`pooling ${level} is unknown to the page`);
  const coefficients = weights[`${name}.coefficient`];
  const biases = weights[`${name}.bias`];
  const size = side * side;
  return (signal) => {
    const pooled = pool(signal, count, side);
    if (level !== "subsample") return pooled;
    const sums = pooled.output.map(
      (sum, at) => sum * coefficients[Math.floor(at / size)] + biases[Math.floor(at / size)],
    );
    return squashed(sums, squash, (slopes) =>
      pooled.back(slopes.map((slope, at) => slope * coefficients[Math.floor(at / size)])),
    );
  };
}

/**
 * Each four neighbours as a weighted sum of them.
 * @param {number[]} shares of the upper left, upper right, lower left and lower right
 * @returns {(signal: Signal, count: number, side: number) => Step}
 */
function weighted([a, b, c, d]) {
  return (signal, count, side) => {
    const output = new Float64Array(count * side * side);
    const row = 2 * side;
    eachFour(count, side, (to, from) => {
      output[to] =
        a * signal[from] +
        b * signal[from + 1] +
        c * signal[from + row] +
        d * signal[from + row + 1];
    });
    return {
      output,
      back: (slopes) => {
        const before = new Float64Array(signal.length);
        eachFour(count, side, (to, from) => {
          before[from] = a * slopes[to];
          before[from + 1] = b * slopes[to];
          before[from + row] = c * slopes[to];
          before[from + row + 1] = d * slopes[to];
        });
        return before;
      },
    };
  };
}

/**
 * The largest of each four neighbours, the first one where they tie.
 * @param {Signal} signal
 * @param {number} count
 * @param {number} side
 * @returns {Step}
 */
function largest(signal, count, side) {
  const output = new Float64Array(count * side * side);
  const chosen = new Int32Array(output.length);
  const row = 2 * side;
  eachFour(count, side, (to, from) => {
    let best = from;
    if (signal[from + 1] > signal[best]) best = from + 1;
    if (signal[from + row] > signal[best]) best = from + row;
    if (signal[from + row + 1] > signal[best]) best = from + row + 1;
    chosen[to] = best;
    output[to] = signal[best];
  });
  return {
    output,
    back: (slopes) => {
      const before = new Float64Array(signal.length);
      chosen.forEach((from, to) => (before[from] = slopes[to]));
      return before;
    },
  };
}

/** @type {Record<string, (signal: Signal, count: number, side: number) => Step>} */
const POOLS = {
  subsample: weighted([1, 1, 1, 1]), // the sum, to be multiplied by a coefficient
  average: weighted([1 / 4, 1 / 4, 1 / 4, 1 / 4]),
  max: largest,
  stride: weighted([1, 0, 0, 0]), // every second pixel of every second row
};

/**
 * Do something for each unit of halved maps: its place, and that of the upper left one
 * of its four inputs.
 * @param {number} count
 * @param {number} side of a halved map
 * @param {(to: number, from: number) => void} act
 */
function eachFour(count, side, act) {
  for (let line = 0; line < count * side; line++) {
    for (let x = 0; x < side; x++) act(line * side + x, 4 * line * side + 2 * x);
  }
}

/**
 * C5, F6 and the softmax output: every input to every unit, squashed or not.
 * @param {Signal} weights [unit, input]
 * @param {Signal} biases
 * @param {Squash | null} squash
 * @returns {Layer}
 */
function dense(weights, biases, squash) {
  const fan = weights.length / biases.length;
  return (signal) => {
    const sums = biases.map((bias, unit) => {
      let sum = bias;
      for (let at = 0; at < fan; at++) sum += weights[unit * fan + at] * signal[at];
      return sum;
    });
    return squashed(sums, squash, (slopes) => {
      const before = new Float64Array(fan);
      slopes.forEach((slope, unit) => {
        for (let at = 0; at < fan; at++) before[at] += slope * weights[unit * fan + at];
      });
      return before;
    });
  };
}

/**
 * The output of 1998: minus half the squared distance to each of ten fixed bitmaps.
 * @param {number[][]} bitmaps
 * @returns {Layer}
 */
function radialBasis(bitmaps) {
  return (units) => ({
    output: Float64Array.from(bitmaps, (bitmap) =>
      bitmap.reduce((sum, pixel, at) => sum - (units[at] - pixel) ** 2 / 2, 0),
    ),
    back: (slopes) =>
      units.map((unit, at) =>
        bitmaps.reduce((sum, bitmap, i) => sum - slopes[i] * (unit - bitmap[at]), 0),
      ),
  });
}
