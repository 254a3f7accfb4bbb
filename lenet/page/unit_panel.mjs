// A closer look at one unit: its value, what it sees, what feeds it, and its weights.
import { decimals, make, number } from "./markup.mjs";
import { MAPS, SIDE } from "./network.mjs";
import { blank, largestOf, paint } from "./picture.mjs";
import { coefficientOf, feederText, hasMaps, seenBy, weightsOf } from "./unit.mjs";

/** @typedef {import("./network.mjs").Network} Network */
/** @typedef {import("./network.mjs").Seen} Seen */
/** @typedef {import("./reading.mjs").Run} Run */
/** @typedef {import("./unit.mjs").Unit} Unit */

const IDLE =
  "Point at a map or a bar, or walk through a layer with the arrow keys: here is what it sees, what feeds it, and its weights.";

/**
 * The panel, and what fills it.
 * @param {HTMLElement} place
 * @param {Run[]} runs
 * @param {Network[]} networks
 */
export function closerLook(place, runs, networks) {
  const image = blank(SIDE, SIDE, "map");
  const frame = make("span", { class: "field", hidden: "" });
  const view = make("div", { class: "field-view", "aria-hidden": "true" }, image, frame);
  const title = make("h3", {}, "A closer look");
  const text = make("p", {}, IDLE);
  const kernels = make("div", { class: "kernels" });
  place.append(view, make("div", { class: "closer-text" }, title, text), kernels);

  /**
   * @param {ArrayLike<number>} pixels
   * @param {(Seen | null)[]} seen
   * @param {{ which: number, unit: Unit } | null} looked
   */
  const show = (pixels, seen, looked) => {
    paint(image, pixels, 1);
    place.classList.toggle("open", Boolean(looked));
    frame.hidden = !looked;
    if (!looked) {
      title.textContent = "A closer look";
      text.textContent = IDLE;
      kernels.replaceChildren();
      return;
    }
    const { which, unit } = looked;
    const network = networks[which];
    title.textContent = `${unit.layer}, ${hasMaps(unit.layer) ? "map" : "unit"} ${unit.index}`;
    text.replaceChildren(`${runs[which].name}: `, ...described(network, unit, seen[which]));
    const { left, top, right, bottom } = seenBy(network, unit);
    Object.assign(frame.style, {
      left: `${(100 * left) / SIDE}%`,
      top: `${(100 * top) / SIDE}%`,
      width: `${(100 * (right - left)) / SIDE}%`,
      height: `${(100 * (bottom - top)) / SIDE}%`,
    });
    showWeights(kernels, network, unit);
  };
  return { show };
}

/**
 * A unit in words.
 * @param {Network} network
 * @param {Unit} unit
 * @param {Seen | null} seen
 */
function described(network, unit, seen) {
  const { layer, y, x } = unit;
  /** @type {(string | Node)[]} */
  const parts = [];
  if (hasMaps(layer) && y !== undefined && x !== undefined) {
    const { left, top, right, bottom } = seenBy(network, unit);
    parts.push(`row ${y}, column ${x} sees ${right - left}\u00d7${bottom - top} pixels`);
  }
  const place = placeOf(unit);
  if (seen && place !== null) {
    parts.push(parts.length ? " and gives " : "gives ");
    parts.push(number(decimals(seen.outputs[layer][place], 3), "unit"));
  }
  if (parts.length) parts.push("; ");
  parts.push(`fed by ${feederText(network, unit)}`);
  const trained = coefficientOf(network, unit);
  if (trained) {
    parts.push("; coefficient ", number(decimals(trained.coefficient, 3), "coefficient"));
    parts.push(", bias ", number(decimals(trained.bias, 3), "coefficient"));
  }
  return [...parts, "."];
}

/**
 * Where in a layer's numbers a unit is; null for a whole map.
 * @param {Unit} unit
 */
function placeOf({ layer, index, y, x }) {
  if (!hasMaps(layer)) return index;
  const side = MAPS[layer][1];
  return y === undefined || x === undefined ? null : (index * side + y) * side + x;
}

/** Whose weights are shown: they are painted once, however often the unit's value changes. */
const shown = {
  /** @type {Network | null} */
  network: null,
  layer: "",
  index: -1,
};

/**
 * A unit's weights as pictures, on one scale.
 * @param {HTMLElement} place
 * @param {Network} network
 * @param {Unit} unit
 */
function showWeights(place, network, unit) {
  const same =
    shown.network === network && shown.layer === unit.layer && shown.index === unit.index;
  if (same && place.childElementCount) return;
  Object.assign(shown, { network, ...unit });
  const weights = weightsOf(network, unit);
  const largest = Math.max(...weights.map(({ values }) => largestOf(values)), 0);
  place.replaceChildren(
    ...weights.map(({ title, width, height, values }) => {
      const canvas = blank(width, height, width > 5 ? "map wide" : "map");
      paint(canvas, values, largest);
      return make("figure", {}, canvas, make("figcaption", {}, title));
    }),
  );
}
