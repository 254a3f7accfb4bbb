// Where in a layer the evidence for a class lies, and where that is on the image, as
// lenet/interpret/gradcam.py has it.
import { backward, forward, MAPS, SIDE } from "./network.mjs";
import { only } from "./saliency.mjs";

/** @typedef {import("./network.mjs").Network} Network */
/** @typedef {import("./network.mjs").Signal} Signal */
/** @typedef {keyof typeof MAPS} MapLayer */

/**
 * Cell i of a layer sees the pixels from start + jump i, `size` of them, on either axis.
 * @typedef {{ start: number, jump: number, size: number }} Field
 */

/** @type {MapLayer[]} */
const ORDER = ["C1", "S2", "C3", "S4"];

/**
 * What the cells of a layer see.
 * @param {Network} network
 * @param {MapLayer} layer
 * @returns {Field}
 */
export function fieldOf(network, layer) {
  const window = network.described.levels.pooling === "stride" ? 1 : 2;
  let [size, jump] = [1, 1];
  for (const name of ORDER.slice(0, ORDER.indexOf(layer) + 1)) {
    const convolution = name.startsWith("C");
    size += ((convolution ? 5 : window) - 1) * jump;
    jump *= convolution ? 1 : 2;
  }
  return { start: -2, jump, size };
}

/**
 * sum_k a_k A_k on the cells of a layer, signed; a_k is the mean over map k of dS/dA_k.
 * @param {Network} network
 * @param {ArrayLike<number>} image
 * @param {number} chosen
 * @param {MapLayer} layer
 * @returns {Signal}
 */
export function cells(network, image, chosen, layer) {
  const seen = forward(network, image);
  const slopes = backward(seen, only(chosen)).layers[layer];
  const [count, side] = MAPS[layer];
  const size = side * side;
  const signed = new Float64Array(size);
  for (let map = 0; map < count; map++) {
    const ofMap = slopes.subarray(map * size, (map + 1) * size);
    const weight = ofMap.reduce((a, b) => a + b, 0) / size;
    for (let at = 0; at < size; at++) {
      signed[at] += weight * seen.outputs[layer][map * size + at];
    }
  }
  return signed;
}

/**
 * The signed map on the image: linear between the middles of what the cells see.
 * @param {Network} network
 * @param {ArrayLike<number>} image
 * @param {number} chosen
 * @param {MapLayer} layer
 * @returns {Signal}
 */
export function gradCam(network, image, chosen, layer) {
  const signed = cells(network, image, chosen, layer);
  const side = MAPS[layer][1];
  const { start, jump, size } = fieldOf(network, layer);
  const middle = start + (size - 1) / 2;
  const places = Array.from({ length: SIDE }, (_, at) =>
    Math.min(Math.max((at - middle) / jump, 0), side - 1),
  );
  const placed = new Float64Array(SIDE * SIDE);
  places.forEach((y, row) =>
    places.forEach((x, column) => {
      placed[row * SIDE + column] = between(signed, side, y, x);
    }),
  );
  return placed;
}

/**
 * A square map's value between its cells.
 * @param {Signal} map
 * @param {number} side
 * @param {number} y
 * @param {number} x
 * @returns {number}
 */
function between(map, side, y, x) {
  const [top, left] = [Math.floor(y), Math.floor(x)];
  let sum = 0;
  for (const [row, ofRow] of [
    [top, 1 - (y - top)],
    [top + 1, y - top],
  ]) {
    for (const [column, ofColumn] of [
      [left, 1 - (x - left)],
      [left + 1, x - left],
    ]) {
      if (ofRow && ofColumn) sum += ofRow * ofColumn * map[row * side + column];
    }
  }
  return sum;
}
