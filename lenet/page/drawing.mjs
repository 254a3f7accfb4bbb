// A drawing as MNIST's images were made, as lenet/interpret/drawing.py has it: in whole numbers,
// so that both give the same bytes.
import { SIDE } from "./network.mjs";

/**
 * A grey picture: bytes row by row.
 * @typedef {{ pixels: Uint8Array, width: number, height: number }} Picture
 */

export const BOX = 20; // pixels that the longer side of a digit is scaled to

/**
 * A picture of a digit, of any size, dark on light or light on dark, as an MNIST image:
 * its box scaled to 20x20, its centre of mass in the middle of 28x28. Null if there is
 * no ink.
 * @param {Picture} picture
 * @returns {Uint8Array | null}
 */
export function asMnist(picture) {
  const ink = inkOf(picture);
  const box = boxOf(ink, picture.width);
  if (!box) return null;
  const { top, left, height, width } = box;
  const longest = Math.max(height, width);
  const rows = windows(height, scaled(height, longest));
  const columns = windows(width, scaled(width, longest));
  /** @type {number[][]} */
  const lines = rows.map((weights) => {
    const line = new Array(width).fill(0);
    for (const [from, weight] of weights) {
      const at = (top + from) * picture.width + left;
      for (let x = 0; x < width; x++) line[x] += weight * ink[at + x];
    }
    return line;
  });
  const small = lines.map((line) =>
    columns.map((weights) => weights.reduce((sum, [from, weight]) => sum + weight * line[from], 0)),
  );
  const most = small.flat().reduce((a, b) => Math.max(a, b), 0);
  return centred(small.map((line) => line.map((sum) => divided(255 * sum, most))));
}

/**
 * a / b, rounded to the nearest whole number, halves upwards.
 * @param {number} a
 * @param {number} b
 * @returns {number}
 */
function divided(a, b) {
  return Math.floor((2 * a + b) / (2 * b));
}

/**
 * How far each pixel is from the background, the median of the border; nothing where
 * that is within the border's own noise.
 * @param {Picture} picture
 * @returns {Int32Array}
 */
function inkOf({ pixels, width, height }) {
  const border = [];
  for (let x = 0; x < width; x++) border.push(pixels[x], pixels[(height - 1) * width + x]);
  for (let y = 0; y < height; y++) border.push(pixels[y * width], pixels[(y + 1) * width - 1]);
  const background = sorted(border)[border.length >> 1];
  let [darkest, lightest] = [255, 0];
  for (let at = 0; at < pixels.length; at++) {
    if (pixels[at] < darkest) darkest = pixels[at];
    if (pixels[at] > lightest) lightest = pixels[at];
  }
  const sign = lightest - background > background - darkest ? 1 : -1;
  const most = Math.max(lightest - background, background - darkest);
  const apart = sorted(border.map((pixel) => Math.abs(pixel - background)));
  const noise = Math.min(2 * apart[Math.floor((9 * border.length) / 10)], most >> 1);
  const ink = new Int32Array(pixels.length);
  for (let at = 0; at < pixels.length; at++) {
    const apart = sign * (pixels[at] - background);
    if (apart > noise) ink[at] = apart;
  }
  return ink;
}

/**
 * Numbers in their order.
 * @param {number[]} numbers
 * @returns {number[]}
 */
function sorted(numbers) {
  return numbers.sort((a, b) => a - b);
}

/**
 * The smallest box that holds all ink.
 * @param {Int32Array} ink
 * @param {number} width
 * @returns {{ top: number, left: number, height: number, width: number } | null}
 */
function boxOf(ink, width) {
  let [top, bottom, left, right] = [Infinity, -1, Infinity, -1];
  for (let y = 0, at = 0; at < ink.length; y++) {
    for (let x = 0; x < width; x++, at++) {
      if (!ink[at]) continue;
      if (y < top) top = y;
      if (y > bottom) bottom = y;
      if (x < left) left = x;
      if (x > right) right = x;
    }
  }
  if (bottom < 0) return null;
  return { top, left, height: bottom - top + 1, width: right - left + 1 };
}

/**
 * The pixels to which a side is scaled, so that the longest has 20.
 * @param {number} side
 * @param {number} longest
 * @returns {number}
 */
function scaled(side, longest) {
  return Math.max(1, divided(BOX * side, longest));
}

/**
 * For each of `to` pixels, which of `from` pixels it sees, and with which weight.
 *
 * Its window is as wide as itself or as one of them, whichever is more: the mean where a
 * picture shrinks, linear between pixels where it grows.
 * @param {number} from
 * @param {number} to
 * @returns {[number, number][][]}
 */
function windows(from, to) {
  const half = Math.max(from, to); // lengths in units of 1 / (2 to) pixels
  return Array.from({ length: to }, (_, at) => {
    const middle = (2 * at + 1) * from;
    /** @type {[number, number][]} */
    const seen = [];
    const first = Math.max(0, Math.floor((middle - half) / (2 * to)));
    for (let pixel = first; pixel < from && 2 * to * pixel < middle + half; pixel++) {
      const start = Math.max(middle - half, 2 * to * pixel);
      const end = Math.min(middle + half, 2 * to * (pixel + 1));
      if (end > start) seen.push([pixel, end - start]);
    }
    return seen;
  });
}

/**
 * A small image in 28x28, its centre of mass (rounded) at row and column 14.
 * @param {number[][]} small
 * @returns {Uint8Array}
 */
function centred(small) {
  let [mass, down, across] = [0, 0, 0];
  small.forEach((line, y) =>
    line.forEach((ink, x) => {
      mass += ink;
      down += ink * y;
      across += ink * x;
    }),
  );
  /** @param {number} moment @param {number} size */
  const start = (moment, size) =>
    Math.min(Math.max(SIDE / 2 - divided(moment, mass), 0), SIDE - size);
  const [top, left] = [start(down, small.length), start(across, small[0].length)];
  const image = new Uint8Array(SIDE * SIDE);
  small.forEach((line, y) => image.set(line, (top + y) * SIDE + left));
  return image;
}
