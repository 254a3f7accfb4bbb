// The smallest change that makes a network read another digit, as lenet/training/attack.py seeks
// it: steps along the sign of the margin's slope, within epsilon of every pixel.
import { answer, backward, forward } from "./network.mjs";

/** @typedef {import("./network.mjs").Network} Network */
/** @typedef {import("./network.mjs").Signal} Signal */

/**
 * What an attack found: an image, its logits, and the margin of the attacked class.
 * @typedef {{ image: Signal, logits: Signal, margin: number }} Found
 */

/** Radii that the steps of a path add up to, as in lenet/interpret/images.py. */
export const PACE = 2.5;
export const STEPS = 20;
export const GREY = 1 / 255; // one level of grey: how finely radii are sought
export const LARGEST = 128; // levels: beyond half of the range, nothing is sought

/**
 * The logit of a class minus the largest other, and that other.
 * @param {Signal} logits
 * @param {number} label
 * @returns {{ margin: number, other: number }}
 */
export function marginOf(logits, label) {
  const others = logits.map((logit, at) => (at === label ? -Infinity : logit));
  const other = answer(others);
  return { margin: logits[label] - logits[other], other };
}

/**
 * PGD from the image itself, away from a class; the image of smallest margin on the
 * path (`best`), or the last one.
 * @param {Network} network
 * @param {Signal} image
 * @param {number} label
 * @param {{ epsilon: number, step: number, steps: number, keep?: "best" | "last" }} how
 * @returns {Found}
 */
export function pgd(network, image, label, { epsilon, step, steps, keep = "best" }) {
  let seen = forward(network, image);
  /** @type {Found} */
  let found = {
    image,
    logits: seen.outputs.output,
    margin: marginOf(seen.outputs.output, label).margin,
  };
  let point = image;
  for (let count = 0; count < steps; count++) {
    const { other } = marginOf(seen.outputs.output, label);
    const slopes = new Float64Array(10);
    [slopes[label], slopes[other]] = [1, -1];
    point = moved(image, point, backward(seen, slopes).pixels, epsilon, step);
    seen = forward(network, point);
    const logits = seen.outputs.output;
    const { margin } = marginOf(logits, label);
    if (keep === "last" || margin < found.margin) found = { image: point, logits, margin };
  }
  return found;
}

/**
 * One step down the slope, back into the ball around the image and into [0, 1].
 * @param {Signal} image
 * @param {Signal} point
 * @param {Signal} slopes
 * @param {number} epsilon
 * @param {number} step
 * @returns {Signal}
 */
function moved(image, point, slopes, epsilon, step) {
  return point.map((pixel, at) => {
    const change = pixel - step * Math.sign(slopes[at]) - image[at];
    const within = Math.min(Math.max(change, -epsilon), epsilon);
    return Math.min(Math.max(image[at] + within, 0), 1);
  });
}

/**
 * FGSM: one step as long as the ball's radius (Goodfellow et al., ICLR 2015).
 * @param {Network} network
 * @param {Signal} image
 * @param {number} label
 * @param {number} epsilon
 * @returns {Found}
 */
export function fgsm(network, image, label, epsilon) {
  return pgd(network, image, label, { epsilon, step: epsilon, steps: 1 });
}

/**
 * PGD with the steps that the page takes (Madry et al., ICLR 2018).
 * @param {Network} network
 * @param {Signal} image
 * @param {number} label
 * @param {number} epsilon
 * @returns {Found}
 */
export function walk(network, image, label, epsilon) {
  return pgd(network, image, label, { epsilon, step: (PACE * epsilon) / STEPS, steps: STEPS });
}

/** @type {Record<string, (network: Network, image: Signal, label: number, epsilon: number) => Found>} */
export const ATTACKS = { fgsm, pgd: walk };

/**
 * Seeks the smallest epsilon, in levels of grey, at which an attack turns the answer;
 * pauses after every attempt, and ends with the epsilon, or null if there is none.
 *
 * FGSM is tried at every level, since a longer step may do worse. PGD is bisected.
 * @param {Network} network
 * @param {Signal} image
 * @param {number} label
 * @param {string} name of the attack
 * @returns {Generator<void, number | null>}
 */
export function* smallest(network, image, label, name) {
  /** @param {number} levels */
  const turns = (levels) => ATTACKS[name](network, image, label, levels * GREY).margin < 0;
  if (name === "fgsm") {
    for (let levels = 1; levels <= LARGEST; levels++) {
      if (turns(levels)) return levels * GREY;
      yield;
    }
    return null;
  }
  let [low, high] = [0, LARGEST];
  if (!turns(high)) return null;
  while (high - low > 1) {
    yield;
    const middle = (low + high) >> 1;
    if (turns(middle)) high = middle;
    else low = middle;
  }
  return high * GREY;
}
