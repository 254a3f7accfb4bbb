// What each network reads: its answer, how sure it is, and its ten outputs.
import { decimals, make, number, percent } from "./markup.mjs";
import { answer, shares } from "./network.mjs";
import { blank, paint } from "./picture.mjs";
import { walkable } from "./unit_walk.mjs";

/** @typedef {import("./network.mjs").Seen} Seen */
/** @typedef {import("./network.mjs").Signal} Signal */
/** @typedef {import("./unit.mjs").Unit} Unit */

/**
 * What is known of a run: the facts that lenet/page/network_data.py lists.
 * @typedef {import("./network.mjs").Described & {
 *   name: string, run: string, seed: number,
 *   error: number, images: number, parameters: number,
 *   like: { n: number, mean: number, low: number | null, high: number | null },
 * }} Run
 */

const WORDS = {
  scaled_tanh: "scaled tanh",
  leaky_relu: "leaky ReLU",
  relu: "ReLU",
  gelu: "GELU",
  silu: "SiLU",
  subsample: "subsampling",
  max: "max pooling",
  average: "average pooling",
  stride: "every second pixel",
  rbf: "RBF units",
  rbf_map: "RBF units, eq. 9",
  ten_units: "ten units, squared error",
};

/**
 * A level in words.
 * @param {string} level
 * @returns {string}
 */
export function inWords(level) {
  return /** @type {Record<string, string>} */ (WORDS)[level] ?? level;
}

/**
 * The squared distances to the bitmaps, as the paper writes them: logits are minus half.
 * @param {Signal} logits
 * @returns {Signal}
 */
export function distancesOf(logits) {
  return logits.map((logit) => -2 * logit);
}

/**
 * How sure a network is: of its answer, and of the next.
 * @param {Run} run
 * @param {Signal} logits
 */
export function sureness(run, logits) {
  const first = answer(logits);
  const second = answer(logits.map((logit, at) => (at === first ? -Infinity : logit)));
  const values = run.bitmaps ? distancesOf(logits) : shares(logits);
  /** @param {number} at */
  const said = (at) => (run.bitmaps ? distanceText(values[at]) : shareText(values[at]));
  return { first, second, of: said(first), next: said(second) };
}

/**
 * The card of a network, and what shows a reading on it.
 * @param {Run} run
 * @param {(unit: Unit | null) => void} look
 */
export function readingCard(run, look) {
  const digit = make("output", { class: "digit", "aria-label": `${run.name} reads` });
  const sure = make("p", { class: "sure" });
  const outputs = outputsOf(run, look);
  const header = make("header", {}, make("h3", {}, run.name), facts(run));
  const reads = make("div", { class: "answer" }, digit, sure);
  const card = make("article", { class: "card reading" }, header, reads, outputs.element);
  /** @param {Seen | null} seen @param {number | null} label */
  const show = (seen, label) => {
    outputs.show(seen);
    card.classList.toggle("empty", !seen);
    digit.textContent = seen ? String(answer(seen.outputs.output)) : "\u2013";
    const wrong = seen && label !== null && answer(seen.outputs.output) !== label;
    card.classList.toggle("wrong", Boolean(wrong));
    if (!seen) {
      sure.textContent = "nothing drawn yet";
      return;
    }
    const { second, of, next } = sureness(run, seen.outputs.output);
    const word = run.bitmaps ? "distance" : "probability";
    sure.replaceChildren(number(`${word} ${of}`, word), make("br"), `next: ${second}, ${next}`);
    if (wrong) sure.append(make("strong", {}, `misread: it is a ${label}`));
  };
  return { card, show };
}

/**
 * What a run is and how often it errs.
 * @param {Run} run
 */
function facts(run) {
  const { activation, pooling, head } = run.levels;
  const { n, mean, low, high } = run.like;
  const range =
    low === null || high === null ? "" : ` (${decimals(100 * low)} to ${decimals(100 * high)})`;
  const alike = n > 1 ? [`; mean of ${n} seeds `, number(percent(mean) + range, "interval")] : [];
  return make(
    "div",
    { class: "facts" },
    make(
      "p",
      {},
      `${[activation, pooling, head].map(inWords).join(", ")}; `,
      number(run.parameters.toLocaleString("en"), "parameters"),
      " parameters",
    ),
    make(
      "p",
      {},
      "misreads ",
      number(percent(run.error), "error"),
      " of the test digits",
      ...alike,
    ),
  );
}

/**
 * The ten outputs, distances to bitmaps or probabilities; F6 as a picture beside bitmaps.
 * @param {Run} run
 * @param {(unit: Unit | null) => void} look
 */
function outputsOf(run, look) {
  const columns = Array.from({ length: 10 }, (_, at) => columnOf(run, at));
  const list = make("div", { class: run.bitmaps ? "outputs distances" : "outputs" });
  list.append(...columns.map(({ element }) => element));
  const word = run.bitmaps ? "distance" : "probability";
  const rest = run.bitmaps ? " of F6 to ten drawings; the shortest wins" : " of each digit";
  const caption = make("p", { class: "caption" }, "output: ", number(word, word), rest);
  const body = make("div", { class: "output-body" }, list);
  const picture = run.bitmaps && blank(7, 12, "bitmap f6");
  if (picture) {
    body.prepend(make("figure", { class: "f6-figure" }, picture, make("figcaption", {}, "F6")));
  }
  walkable(list, {
    layer: "output",
    count: 10,
    label: `output of ${run.name}`,
    unitAt: (event) => {
      const at = columns.findIndex(({ element }) =>
        element.contains(/** @type {Node} */ (event.target)),
      );
      return at < 0 ? null : { layer: "output", index: at };
    },
    said: (at) => `${at}: ${word} ${columns[at].value.textContent}`,
    look,
  });
  /** @param {Seen | null} seen */
  const show = (seen) => {
    const logits = seen?.outputs.output ?? new Float64Array(10);
    const values = Array.from(run.bitmaps ? distancesOf(logits) : shares(logits));
    const whole = run.bitmaps ? Math.max(...values, 1) : 1;
    columns.forEach(({ show }, at) => {
      show(seen && values[at], whole, at === answer(logits));
    });
    if (picture) paint(picture, asInk(seen?.outputs.F6 ?? new Float64Array(84)), 1);
  };
  return { element: make("div", { class: "output" }, caption, body), show };
}

/**
 * One output: its digit, its bitmap if it has one, a bar and its value.
 * @param {Run} run
 * @param {number} at
 */
function columnOf({ bitmaps }, at) {
  const bar = make("span", { class: "bar" });
  const value = make("span", { class: "value" });
  const track = make("span", { class: "track" }, bar);
  const element = make("span", { class: "column" }, make("b", {}, String(at)), track, value);
  const canvas = bitmaps && blank(7, 12, "bitmap");
  if (canvas) element.prepend(canvas);
  /** @param {number | null} amount @param {number} whole @param {boolean} chosen */
  const show = (amount, whole, chosen) => {
    if (canvas && bitmaps) paint(canvas, asInk(bitmaps[at]), 1);
    element.classList.toggle("chosen", amount !== null && chosen);
    bar.style.height = `${(100 * (amount ?? 0)) / whole}%`;
    value.textContent = amount === null ? "" : (bitmaps ? shortDistance : shortShare)(amount);
  };
  return { element, value, show };
}

/**
 * Units that are -1 for background and +1 for ink, as 0 to 1.
 * @param {ArrayLike<number>} units
 */
function asInk(units) {
  return Array.from(units, (unit) => Math.min(Math.max((unit + 1) / 2, 0), 1));
}

/**
 * A distance, with two digits below 1.
 * @param {number} distance
 */
function distanceText(distance) {
  return distance < 1 ? distance.toPrecision(2) : decimals(distance, distance < 10 ? 1 : 0);
}

/**
 * A distance in three letters.
 * @param {number} distance
 */
function shortDistance(distance) {
  return decimals(distance, distance < 9.95 ? 1 : 0);
}

/**
 * A share in per cent, never rounded to all or nothing.
 * @param {number} share
 */
function shareText(share) {
  if (share > 0.9999) return `> ${percent(0.9999)}`;
  return share < 0.0001 ? `< ${percent(0.0001)}` : percent(share);
}

/**
 * A share in per cent, in three letters.
 * @param {number} share
 */
function shortShare(share) {
  const percents = 100 * share;
  if (percents < 0.05) return "0";
  return percents >= 99.95 ? "100" : decimals(percents, percents < 10 ? 1 : 0);
}
