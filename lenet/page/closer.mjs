// A closer look at one unit: its value, what it sees, what feeds it, and its weights.
import { make } from "./markup.mjs";
import { MAPS, SIDE } from "./network.mjs";
import { blank, largestOf, paint } from "./picture.mjs";
import { nameOf } from "./reading.mjs";
import { coefficientOf, fedBy, hasMaps, seenBy, weightsOf } from "./unit.mjs";

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
    text.textContent = `${nameOf(runs[which])}: ${described(network, unit, seen[which])}`;
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
  const { layer, index, y, x } = unit;
  const { layer: before, indices } = fedBy(network, unit);
  const parts = [];
  if (hasMaps(layer) && y !== undefined && x !== undefined) {
    const side = MAPS[layer][1];
    const value = seen?.outputs[layer][(index * side + y) * side + x];
    const { left, top, right, bottom } = seenBy(network, unit);
    parts.push(`unit ${y}, ${x}${value === undefined ? "" : ` gives ${value.toFixed(3)}`}`);
    parts.push(`sees ${right - left}\u00d7${bottom - top} pixels`);
  } else if (!hasMaps(layer) && seen) {
    parts.push(`gives ${seen.outputs[layer][index].toFixed(3)}`);
  }
  if (before === "input") parts.push("fed by the image");
  else if (layer === "C3") parts.push(`fed by ${indices.length} maps of S2: ${indices.join(", ")}`);
  else if (hasMaps(layer)) parts.push(`fed by map ${index} of ${before}`);
  else parts.push(`fed by all of ${before}`);
  const sub = coefficientOf(network, unit);
  if (sub) parts.push(`coefficient ${sub.coefficient.toFixed(3)}, bias ${sub.bias.toFixed(3)}`);
  return `${parts.join("; ")}.`;
}

/**
 * A unit's weights as pictures, on one scale.
 * @param {HTMLElement} place
 * @param {Network} network
 * @param {Unit} unit
 */
function showWeights(place, network, unit) {
  const name = `${network.described.numbers.length} ${unit.layer} ${unit.index}`;
  if (place.dataset.shows === name && place.childElementCount) return;
  place.dataset.shows = name;
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
