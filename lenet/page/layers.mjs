// Every layer of every network, side by side, by the paper's names; each can be walked
// through with pointer or arrow keys, which says what is looked at.
import { make, number } from "./markup.mjs";
import { LAYERS, MAPS } from "./network.mjs";
import { blank, largestOf, paint } from "./picture.mjs";
import { inWords } from "./reading.mjs";
import { countOf, fedBy, feederText, hasMaps } from "./unit.mjs";
import { walkable } from "./unit_walk.mjs";

/** @typedef {import("./network.mjs").LayerName} LayerName */
/** @typedef {import("./network.mjs").Network} Network */
/** @typedef {import("./network.mjs").Seen} Seen */
/** @typedef {import("./network.mjs").Signal} Signal */
/** @typedef {import("./reading.mjs").Run} Run */
/** @typedef {import("./unit.mjs").Unit} Unit */

/**
 * A layer of one network on the page.
 * @typedef {{
 *   element: HTMLElement,
 *   show: (output: Signal | null) => void,
 *   mark: (indices: number[] | null, name: "fed" | "chosen") => void,
 * }} View
 */

/** @type {Record<LayerName, string>} */
const SIZES = {
  C1: "6 maps of 28\u00d728",
  S2: "6 maps of 14\u00d714",
  C3: "16 maps of 10\u00d710",
  S4: "16 maps of 5\u00d75",
  C5: "120 units",
  F6: "84 units",
  output: "10 units",
};
const BAR = 32; // pixels of a strip of bars, up and down

/**
 * The rows of layers from C1 to F6.
 * @param {HTMLElement} place
 * @param {Run[]} runs
 * @param {Network[]} networks
 * @param {(which: number, unit: Unit | null) => void} look
 */
export function layerRows(place, runs, networks, look) {
  const views = networks.map(() => /** @type {Record<LayerName, View>} */ ({}));
  for (const layer of LAYERS.slice(0, -1)) {
    const cells = networks.map((network, which) => {
      const view = viewOf(runs[which], network, layer, (unit) => look(which, unit));
      views[which][layer] = view;
      const said = make(
        "p",
        { class: "caption" },
        make("span", { class: "year" }, runs[which].name),
        ...captionOf(runs[which], layer),
      );
      return make("div", { class: "cell" }, said, view.element);
    });
    const head = make("h3", { class: "layer" }, layer, make("small", {}, SIZES[layer]));
    place.append(make("div", { class: "row" }, head, ...cells));
  }
  /** Frame a unit and what feeds it. @param {number} which @param {Unit | null} unit */
  const mark = (which, unit) => {
    const fed = unit && fedBy(networks[which], unit);
    views.forEach((ofNetwork, other) => {
      for (const [layer, view] of Object.entries(ofNetwork)) {
        const here = other === which && unit;
        view.mark(here && fed && fed.layer === layer ? fed.indices : null, "fed");
        view.mark(here && unit.layer === layer ? [unit.index] : null, "chosen");
      }
    });
  };
  /** @param {(Seen | null)[]} seen */
  const show = (seen) =>
    views.forEach((ofNetwork, which) => {
      for (const [layer, view] of Object.entries(ofNetwork)) {
        view.show(seen[which]?.outputs[/** @type {LayerName} */ (layer)] ?? null);
      }
    });
  return { show, mark };
}

/**
 * What a layer does and how many numbers were learnt for it.
 * @param {Run} run
 * @param {LayerName} layer
 */
function captionOf(run, layer) {
  const { activation, pooling, norm, connection } = run.levels;
  const learnt = run.tensors
    .filter(([name]) => name.startsWith(`${layer}.`) && !/mean|var/.test(name))
    .reduce((sum, [, count]) => sum + count, 0);
  const squash = inWords(layer === "F6" && run.bitmaps ? "scaled_tanh" : activation);
  const normed = norm === "none" ? "" : `, ${norm} norm`;
  const does = {
    C1: `5\u00d75 kernels${normed}, ${squash}`,
    S2:
      pooling === "subsample"
        ? `sum of four \u00d7 coefficient + bias, ${squash}`
        : inWords(pooling),
    C3: `5\u00d75 kernels ${connection === "table" ? "by Table I" : "from all maps"}${normed}, ${squash}`,
    S4: pooling === "subsample" ? `as S2, ${squash}` : inWords(pooling),
    C5: `all maps to each unit, ${squash}`,
    F6: run.bitmaps ? `drawn as a 7\u00d712 picture, ${squash}` : squash,
    output: "",
  }[layer];
  return [`${does}; `, number(learnt.toLocaleString("en"), "parameters"), " learnt"];
}

/**
 * A layer as pictures of its maps, or as bars of its units.
 * @param {Run} run
 * @param {Network} network
 * @param {LayerName} layer
 * @param {(unit: Unit | null) => void} look
 * @returns {View}
 */
function viewOf(run, network, layer, look) {
  const view = hasMaps(layer) ? mapsOf(layer) : barsOf(layer);
  const what = hasMaps(layer) ? "map" : "unit";
  walkable(view.element, {
    layer,
    count: countOf(layer),
    label: `${layer} of ${run.name}: ${what}`,
    unitAt: view.unitAt,
    said: (index) => `${what} ${index}, fed by ${feederText(network, { layer, index })}`,
    look,
  });
  return view;
}

/**
 * A layer's maps as pictures.
 * @param {keyof typeof MAPS} layer
 */
function mapsOf(layer) {
  const [count, side] = MAPS[layer];
  const canvases = Array.from({ length: count }, () => blank(side, side));
  const element = make("div", { class: `maps ${layer}` }, ...canvases);
  /** @param {Signal | null} output */
  const show = (output) => {
    const signal = output ?? new Float64Array(count * side * side);
    const largest = largestOf(signal);
    canvases.forEach((canvas, map) => {
      paint(canvas, signal.subarray(map * side * side, (map + 1) * side * side), largest);
    });
  };
  /** @param {PointerEvent} event @returns {Unit | null} */
  const unitAt = (event) => {
    const canvas = event.target;
    if (!(canvas instanceof HTMLCanvasElement)) return null;
    const box = canvas.getBoundingClientRect();
    /** @param {number} share */
    const cell = (share) => Math.min(Math.max(Math.floor(share * side), 0), side - 1);
    return {
      layer,
      index: canvases.indexOf(canvas),
      y: cell((event.clientY - box.top) / box.height),
      x: cell((event.clientX - box.left) / box.width),
    };
  };
  /** @param {number[] | null} indices @param {"fed" | "chosen"} name */
  const mark = (indices, name) => {
    canvases.forEach((canvas, map) =>
      canvas.classList.toggle(name, Boolean(indices?.includes(map))),
    );
  };
  return { element, show, unitAt, mark };
}

/**
 * A layer's units as bars, up for above zero and down for below.
 * @param {"C5" | "F6" | "output"} layer
 */
function barsOf(layer) {
  const count = countOf(layer);
  const canvas = blank(count * 3, 2 * BAR + 1, "bars");
  const cursor = make("span", { class: "bar-cursor", hidden: "" });
  const element = make("div", { class: "strip" }, canvas, cursor);
  /** @param {Signal | null} output */
  const show = (output) => paint(canvas, barsOn(canvas, output ?? new Float64Array(count)), 1);
  /** @param {PointerEvent} event @returns {Unit | null} */
  const unitAt = (event) => {
    const box = canvas.getBoundingClientRect();
    const at = Math.floor(((event.clientX - box.left) / box.width) * count);
    return at >= 0 && at < count ? { layer, index: at } : null;
  };
  /** @param {number[] | null} indices @param {"fed" | "chosen"} name */
  const mark = (indices, name) => {
    if (name === "fed") {
      element.classList.toggle("fed", Boolean(indices));
      return;
    }
    cursor.hidden = !indices;
    if (indices) cursor.style.left = `${(100 * (indices[0] + 1 / 3)) / count}%`;
  };
  return { element, show, unitAt, mark };
}

/**
 * Bars as the pixels of a canvas, three wide with a gap: 1 for above zero, -1 for below.
 * @param {HTMLCanvasElement} canvas
 * @param {Signal} signal
 */
function barsOn({ width, height }, signal) {
  const pixels = new Float64Array(width * height);
  const largest = largestOf(signal) || 1;
  signal.forEach((value, unit) => {
    const sign = value < 0 ? -1 : 1;
    for (let step = 0; step <= Math.round((Math.abs(value) / largest) * BAR); step++) {
      const from = (BAR - sign * step) * width + 3 * unit;
      pixels.fill(sign, from, from + 2);
    }
  });
  return pixels;
}
