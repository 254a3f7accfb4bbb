// What each network reads: its answer, how sure it is, and its ten outputs.
import { make, number, percent } from "./markup.mjs";
import { answer, shares } from "./network.mjs";
import { blank, paint } from "./picture.mjs";

/** @typedef {import("./network.mjs").Network} Network */
/** @typedef {import("./network.mjs").Seen} Seen */
/** @typedef {import("./network.mjs").Signal} Signal */

/**
 * What is known of a run: the facts that lenet/page/network.py lists.
 * @typedef {import("./network.mjs").Described & {
 *   name: string, changes: Record<string, string>, run: string, seed: number,
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
 * A run's name: its preset's year, or that and what was changed.
 * @param {Run} run
 * @returns {string}
 */
export function nameOf({ name, changes }) {
  const changed = Object.entries(changes).map(([factor, level]) => `${factor} ${inWords(level)}`);
  return changed.length ? `${name}, with ${changed.join(", ")}` : name;
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
  const said = (at) => (run.bitmaps ? values[at].toFixed(1) : percent(values[at]));
  return { first, second, of: said(first), next: said(second) };
}

/**
 * The card of a network, and what shows a reading on it.
 * @param {Run} run
 * @param {Network} network
 */
export function readingCard(run, network) {
  const digit = make("output", { class: "digit", "aria-label": `${nameOf(run)} reads` });
  const sure = make("p", { class: "sure" });
  const outputs = outputsOf(run);
  const card = make(
    "article",
    { class: "card reading" },
    make("header", {}, make("h3", {}, nameOf(run)), facts(run)),
    make("div", { class: "answer" }, digit, sure),
    outputs.element,
  );
  /** @param {Seen | null} seen */
  const show = (seen) => {
    card.classList.toggle("empty", !seen);
    if (!seen) {
      digit.textContent = "\u2013";
      sure.textContent = "nothing drawn yet";
      outputs.show(null);
      return;
    }
    const logits = seen.outputs.output;
    const { first, second, of, next } = sureness(run, logits);
    digit.textContent = String(first);
    const word = run.bitmaps ? "distance" : "probability";
    sure.replaceChildren(number(`${word} ${of}`, word), make("br"), `next: ${second}, ${next}`);
    outputs.show(seen);
  };
  return { card, show, network };
}

/**
 * What a run is and how often it errs.
 * @param {Run} run
 */
function facts(run) {
  const { activation, pooling, head } = run.levels;
  const { n, mean, low, high } = run.like;
  const range =
    low === null || high === null
      ? ""
      : ` (${(100 * low).toFixed(2)} to ${(100 * high).toFixed(2)})`;
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
 * The ten outputs: distances to bitmaps, or probabilities.
 * @param {Run} run
 */
function outputsOf(run) {
  const { bitmaps } = run;
  const cells = Array.from({ length: 10 }, (_, at) => {
    const bar = make("span", { class: "bar" });
    const value = make("span", { class: "value" });
    const column = make(
      "li",
      {},
      make("b", {}, String(at)),
      make("span", { class: "track" }, bar),
      value,
    );
    const canvas = bitmaps && blank(7, 12, "bitmap");
    if (canvas) column.prepend(canvas);
    return { column, bar, value, canvas };
  });
  const picture = bitmaps && blank(7, 12, "bitmap f6");
  const list = make("ol", { class: bitmaps ? "outputs distances" : "outputs" });
  list.append(...cells.map(({ column }) => column));
  const word = bitmaps ? "distance" : "probability";
  const title = bitmaps
    ? ["output: ", number("distance", word), " of F6 to ten drawings; the shortest wins"]
    : ["output: ", number("probability", word), " of each digit"];
  const body = make("div", { class: "output-body" });
  if (picture) {
    body.append(make("figure", { class: "f6-figure" }, picture, make("figcaption", {}, "F6")));
  }
  body.append(list);
  const element = make("div", { class: "output" }, make("p", { class: "caption" }, ...title), body);
  /** @param {Seen | null} seen */
  const show = (seen) => {
    const logits = seen?.outputs.output ?? new Float64Array(10);
    const values = Array.from(bitmaps ? distancesOf(logits) : shares(logits));
    const longest = bitmaps ? Math.max(...values, 1) : 1;
    cells.forEach(({ column, bar, value, canvas }, at) => {
      if (bitmaps && canvas)
        paint(
          canvas,
          bitmaps[at].map((pixel) => (pixel + 1) / 2),
          1,
        );
      column.classList.toggle("chosen", Boolean(seen) && at === answer(logits));
      bar.style.height = seen ? `${(100 * values[at]) / longest}%` : "0";
      value.textContent = seen ? shortly(values[at], Boolean(bitmaps)) : "";
    });
    if (picture)
      paint(
        picture,
        (seen?.outputs.F6 ?? new Float64Array(84)).map((unit) => (unit + 1) / 2),
        1,
      );
  };
  return { element, show };
}

/**
 * A distance or a share in three letters.
 * @param {number} value
 * @param {boolean} distance
 */
function shortly(value, distance) {
  if (distance) return value < 10 ? value.toFixed(1) : value.toFixed(0);
  const share = 100 * value;
  return share < 0.05 ? "0" : share >= 99.95 ? "100" : share.toFixed(share < 10 ? 1 : 0);
}
