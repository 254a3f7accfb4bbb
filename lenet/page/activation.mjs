// The squashing functions of lenet/training/factor/activation.py, and their slopes.

/**
 * A squashing function of a unit's sum, and its derivative by that sum.
 * @typedef {{ value: (a: number) => number, slope: (a: number) => number }} Squash
 */

const AMPLITUDE = 1.7159; // paper, App. A, p. 41
const SLOPE = 2 / 3;

/**
 * The error function: its power series near 0, its continued fraction beyond.
 * Both are right to 1e-14.
 * @param {number} x
 * @returns {number}
 */
export function erf(x) {
  if (x < 0) return -erf(-x);
  if (x > 6) return 1;
  if (x > 2.5) {
    let fraction = 0;
    for (let term = 60; term > 0; term--) fraction = term / 2 / (x + fraction);
    return 1 - Math.exp(-x * x) / Math.sqrt(Math.PI) / (x + fraction);
  }
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

/** @param {number} a */
function sigmoid(a) {
  return (1 + Math.tanh(a / 2)) / 2;
}

/** @param {number} a */
function normalShare(a) {
  return (1 + erf(a / Math.SQRT2)) / 2;
}

/** @type {Record<string, Squash>} */
export const SQUASHES = {
  scaled_tanh: {
    value: (a) => AMPLITUDE * Math.tanh(SLOPE * a),
    slope: (a) => AMPLITUDE * SLOPE * (1 - Math.tanh(SLOPE * a) ** 2),
  },
  tanh: { value: Math.tanh, slope: (a) => 1 - Math.tanh(a) ** 2 },
  sigmoid: { value: sigmoid, slope: (a) => sigmoid(a) * (1 - sigmoid(a)) },
  relu: { value: (a) => (a > 0 ? a : 0), slope: (a) => (a > 0 ? 1 : 0) },
  leaky_relu: { value: (a) => (a > 0 ? a : 0.01 * a), slope: (a) => (a > 0 ? 1 : 0.01) },
  gelu: {
    value: (a) => a * normalShare(a),
    slope: (a) => normalShare(a) + (a * Math.exp((-a * a) / 2)) / Math.sqrt(2 * Math.PI),
  },
  silu: {
    value: (a) => a * sigmoid(a),
    slope: (a) => sigmoid(a) * (1 + a * (1 - sigmoid(a))),
  },
};
