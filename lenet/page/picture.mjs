// Numbers as pictures: what is above zero in ink, what is below in the accent colour.

/**
 * Red, green and blue, 0 to 255.
 * @typedef {[number, number, number]} Colour
 */

/** @type {{ paper: Colour, ink: Colour, accent: Colour }} */
const tones = { paper: [255, 255, 255], ink: [0, 0, 0], accent: [0, 0, 255] };

/** Take the colours of the page's style, light or dark. */
export function readTones() {
  const style = getComputedStyle(document.documentElement);
  for (const name of /** @type {const} */ (["paper", "ink", "accent"])) {
    const text = style.getPropertyValue(`--map-${name}`).trim().slice(1);
    const [red, green, blue] = [0, 2, 4].map((at) => parseInt(text.slice(at, at + 2), 16));
    tones[name] = [red, green, blue];
  }
  mixShades();
}

const SHADES = 255; // between the paper and either tone

/** Every shade as a pixel in memory: the accent's from 0, the paper's at 255, the ink's. */
const shades = new Uint32Array(2 * SHADES + 1);

/** Mix the shades from the tones. */
function mixShades() {
  const bytes = new Uint8ClampedArray(shades.buffer);
  for (let at = 0; at < shades.length; at++) {
    const share = Math.abs(at - SHADES) / SHADES;
    const tone = at < SHADES ? tones.accent : tones.ink;
    for (let k = 0; k < 3; k++) {
      bytes[4 * at + k] = tones.paper[k] + share * (tone[k] - tones.paper[k]);
    }
    bytes[4 * at + 3] = 255;
  }
}

/**
 * Paint numbers, row by row, onto a canvas that has a pixel for each.
 * @param {HTMLCanvasElement} canvas
 * @param {ArrayLike<number>} values
 * @param {number} largest whose size has the full tone
 */
export function paint(canvas, values, largest) {
  const { context, pixels, words } = surfaceOf(canvas);
  const scale = largest > 0 ? SHADES / largest : 0;
  for (let at = 0; at < words.length; at++) {
    const shade = Math.round(values[at] * scale);
    words[at] = shades[SHADES + Math.max(-SHADES, Math.min(SHADES, shade))];
  }
  context.putImageData(pixels, 0, 0);
}

/**
 * Paint a digit faintly, and over it, in the accent colour, what is above zero.
 * @param {HTMLCanvasElement} canvas
 * @param {ArrayLike<number>} image in [0, 1]
 * @param {ArrayLike<number>} heat
 */
export function paintOver(canvas, image, heat) {
  const { context, pixels } = surfaceOf(canvas);
  const most = largestOf(heat, (value) => value);
  for (let at = 0; at < image.length; at++) {
    const over = most > 0 ? 0.85 * Math.max(0, heat[at] / most) : 0;
    for (let k = 0; k < 3; k++) {
      const under = tones.paper[k] + 0.45 * image[at] * (tones.ink[k] - tones.paper[k]);
      pixels.data[4 * at + k] = under + over * (tones.accent[k] - under);
    }
    pixels.data[4 * at + 3] = 255;
  }
  context.putImageData(pixels, 0, 0);
}

/**
 * The largest size of numbers.
 * @param {ArrayLike<number>} values
 * @param {(value: number) => number} [size]
 * @returns {number}
 */
export function largestOf(values, size = Math.abs) {
  let most = 0;
  for (let at = 0; at < values.length; at++) most = Math.max(most, size(values[at]));
  return most;
}

/**
 * A canvas of so many pixels, which the style enlarges.
 * @param {number} width
 * @param {number} height
 * @param {string} [name] of its class
 * @returns {HTMLCanvasElement}
 */
export function blank(width, height, name = "map") {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height, canvas.className] = [width, height, name];
  return canvas;
}

/**
 * What a canvas is painted with, made once.
 * @param {HTMLCanvasElement} canvas
 */
function surfaceOf(canvas) {
  const known = surfaces.get(canvas);
  if (known) return known;
  const context = canvas.getContext("2d");
  if (!context) throw new Error("this browser paints no canvas");
  const pixels = context.createImageData(canvas.width, canvas.height);
  const surface = { context, pixels, words: new Uint32Array(pixels.data.buffer) };
  surfaces.set(canvas, surface);
  return surface;
}

/** @type {WeakMap<HTMLCanvasElement, { context: CanvasRenderingContext2D, pixels: ImageData, words: Uint32Array }>} */
const surfaces = new WeakMap();
