// All kernels of C1 and C3 as one picture, C3's in the place that Table I gives them.
import { make } from "./markup.mjs";
import { blank, largestOf, paint } from "./picture.mjs";

/** @typedef {import("./network.mjs").Network} Network */
/** @typedef {import("./reading.mjs").Run} Run */

const PITCH = 6; // a kernel's five cells and a gap

/**
 * A card with a network's kernels, and what paints them.
 * @param {Run} run
 * @param {Network} network
 */
export function kernelsCard(run, network) {
  const first = blank(6 * PITCH - 1, PITCH - 1, "map grid six");
  const third = blank(16 * PITCH - 1, 6 * PITCH - 1, "map grid sixteen");
  const card = make(
    "article",
    { class: "card" },
    make("h4", {}, run.name),
    make("figure", {}, first, make("figcaption", {}, "C1: six kernels on the image")),
    make(
      "figure",
      {},
      third,
      make(
        "figcaption",
        {},
        "C3: a column for each of its 16 maps, a row for each map of S2; in 1998 as Table I connects them",
      ),
    ),
  );
  const show = () => {
    lay(first, network.weights["C1.weight"], [[0, 1, 2, 3, 4, 5].map((map) => [0, map])].flat());
    const places = run.inputs.C3.flatMap((feeding, map) => feeding.map((input) => [input, map]));
    lay(third, network.weights["C3.weight"], places);
  };
  return { card, show };
}

/**
 * Paint kernels at their rows and columns.
 * @param {HTMLCanvasElement} canvas
 * @param {Float64Array} kernels
 * @param {number[][]} places
 */
function lay(canvas, kernels, places) {
  const values = new Float64Array(canvas.width * canvas.height);
  places.forEach(([row, column], kernel) => {
    for (let k = 0; k < 25; k++) {
      const y = row * PITCH + Math.floor(k / 5);
      values[y * canvas.width + column * PITCH + (k % 5)] = kernels[25 * kernel + k];
    }
  });
  paint(canvas, values, largestOf(values));
}
