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
}

/**
 * Paint numbers, row by row, onto a canvas that has a pixel for each.
 * @param {HTMLCanvasElement} canvas
 * @param {ArrayLike<number>} values
 * @param {number} largest whose size has the full tone
 */
export function paint(canvas, values, largest) {
  const { context, pixels } = surfaceOf(canvas);
  for (let at = 0; at < values.length; at++) {
    const share = largest > 0 ? Math.min(Math.abs(values[at]) / largest, 1) : 0;
    const tone = values[at] < 0 ? tones.accent : tones.ink;
    for (let k = 0; k < 3; k++) {
      pixels.data[4 * at + k] = tones.paper[k] + share * (tone[k] - tones.paper[k]);
    }
    pixels.data[4 * at + 3] = 255;
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
  const surface = { context, pixels: context.createImageData(canvas.width, canvas.height) };
  surfaces.set(canvas, surface);
  return surface;
}

/** @type {WeakMap<HTMLCanvasElement, { context: CanvasRenderingContext2D, pixels: ImageData }>} */
const surfaces = new WeakMap();
