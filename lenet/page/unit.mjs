// One unit of a layer: what it sees of the image, what feeds it, and its weights.
import { fieldOf } from "./gradcam.mjs";
import { LAYERS, MAPS, SIDE } from "./network.mjs";

/** @typedef {import("./network.mjs").Network} Network */
/** @typedef {import("./network.mjs").LayerName} LayerName */

/**
 * A unit: its layer, its map or number there, and in a map its place.
 * @typedef {{ layer: LayerName, index: number, y?: number, x?: number }} Unit
 */

/**
 * Weights as a picture: a title, and its numbers row by row.
 * @typedef {{ title: string, width: number, height: number, values: Float64Array }} Weights
 */

/**
 * Whether a layer has maps.
 * @param {LayerName} layer
 * @returns {layer is keyof typeof MAPS}
 */
export function hasMaps(layer) {
  return layer in MAPS;
}

/**
 * The number of maps or units of a layer.
 * @param {LayerName} layer
 * @returns {number}
 */
export function countOf(layer) {
  return hasMaps(layer) ? MAPS[layer][0] : { C5: 120, F6: 84, output: 10 }[layer];
}

/**
 * The rectangle of pixels that a unit sees, cut at the image's border; all of it for
 * a whole map, and from C5 on.
 * @param {Network} network
 * @param {Unit} unit
 * @returns {{ left: number, top: number, right: number, bottom: number }}
 */
export function seenBy(network, { layer, y, x }) {
  if (!hasMaps(layer) || y === undefined || x === undefined) {
    return { left: 0, top: 0, right: SIDE, bottom: SIDE };
  }
  const { start, jump, size } = fieldOf(network, layer);
  /** @param {number} at */
  const span = (at) => [start + jump * at, start + jump * at + size];
  const [[top, bottom], [left, right]] = [span(y), span(x)];
  return {
    left: Math.max(0, left),
    top: Math.max(0, top),
    right: Math.min(SIDE, right),
    bottom: Math.min(SIDE, bottom),
  };
}

/**
 * The layer before, and which of its maps or units feed a unit.
 * @param {Network} network
 * @param {Unit} unit
 * @returns {{ layer: LayerName | "input", indices: number[] }}
 */
export function fedBy(network, { layer, index }) {
  const { inputs } = network.described;
  if (layer === "C1") return { layer: "input", indices: [0] };
  const before = LAYERS[LAYERS.indexOf(layer) - 1];
  if (layer === "S2" || layer === "S4") return { layer: before, indices: [index] };
  if (layer === "C3") return { layer: before, indices: inputs.C3[index] };
  return { layer: before, indices: Array.from({ length: countOf(before) }, (_, at) => at) };
}

/**
 * What feeds a unit, in words.
 * @param {Network} network
 * @param {Unit} unit
 */
export function feederText(network, unit) {
  const { layer, indices } = fedBy(network, unit);
  if (layer === "input") return "the image";
  if (unit.layer === "C3") return `${indices.length} maps of S2: ${indices.join(", ")}`;
  return hasMaps(unit.layer) ? `map ${unit.index} of ${layer}` : `all of ${layer}`;
}

/**
 * A unit's weights as pictures.
 * @param {Network} network
 * @param {Unit} unit
 * @returns {Weights[]}
 */
export function weightsOf(network, { layer, index }) {
  const { weights, described } = network;
  /** @param {string} name @param {number} from @param {number} count */
  const some = (name, from, count) => weights[name].subarray(from, from + count);
  if (layer === "C1" || layer === "C3") {
    const before = described.inputs[layer].slice(0, index).flat().length;
    return described.inputs[layer][index].map((input, at) => ({
      title: layer === "C1" ? "kernel" : `from S2 ${input}`,
      width: 5,
      height: 5,
      values: some(`${layer}.weight`, 25 * (before + at), 25),
    }));
  }
  if (layer === "C5") {
    return Array.from({ length: 16 }, (_, map) => ({
      title: `from S4 ${map}`,
      width: 5,
      height: 5,
      values: some("C5.weight", 400 * index + 25 * map, 25),
    }));
  }
  if (layer === "F6") {
    const values = some("F6.weight", 120 * index, 120);
    return [{ title: "120 weights", width: 20, height: 6, values }];
  }
  if (layer === "output" && described.bitmaps) {
    const values = Float64Array.from(described.bitmaps[index]);
    return [{ title: "bitmap", width: 7, height: 12, values }];
  }
  if (layer === "output") {
    const values = some("output.weight", 84 * index, 84);
    return [{ title: "84 weights", width: 14, height: 6, values }];
  }
  return [];
}

/**
 * What a subsampling map multiplies by and adds, where it has such numbers.
 * @param {Network} network
 * @param {Unit} unit
 * @returns {{ coefficient: number, bias: number } | null}
 */
export function coefficientOf(network, { layer, index }) {
  const coefficients = network.weights[`${layer}.coefficient`];
  if (!coefficients) return null;
  return { coefficient: coefficients[index], bias: network.weights[`${layer}.bias`][index] };
}
