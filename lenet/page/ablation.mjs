// Believe: the factorial made touchable. A level of each factor is a cell; each switch
// shows what turning it does there, today minus 1998, and over all settings.
import { choices, decimals, make, number, percent, points } from "./markup.mjs";

/** @typedef {{ n: number, mean: number, low: number | null, high: number | null }} Estimate */
/**
 * A factorial as lenet/page/ablation_data.py writes it.
 * @typedef {{
 *   study: string, seeds: number[], images: number,
 *   factors: { name: string, levels: [string, string], main: Estimate & { verdict: string } }[],
 *   cells: (Estimate & { errors: (number | null)[], runs: string[] })[],
 *   switches: Estimate[][],
 * }} Ablation
 */

const GUESSING = 0.8; // the error from which a run has collapsed, as in lenet/studies/effect.py
const NAMESPACE = "http://www.w3.org/2000/svg";
const EFFECTS = 0.009; // a fraction: what the axis of effects shows at most
const ASK = "Point at a dot: which network it is.";
const ERRORS = [0.0045, 0.03]; // fractions: what the logarithmic axis of errors shows

/**
 * The number of a cell: its levels as binary digits.
 * @param {number[]} levels
 * @returns {number}
 */
export function cellOf(levels) {
  return levels.reduce((number, level) => 2 * number + level, 0);
}

/**
 * What turning one factor does at given levels of the others.
 * @param {Ablation} ablation
 * @param {number[]} levels
 * @param {number} factor
 * @returns {Estimate}
 */
export function switchOf(ablation, levels, factor) {
  const others = levels.filter((_, at) => at !== factor);
  return ablation.switches[factor][cellOf(others)];
}

/**
 * Fill the board.
 * @param {HTMLElement} place
 * @param {HTMLElement} said
 * @param {HTMLElement} presets
 * @param {Ablation} ablation
 */
export function switchboard(place, said, presets, ablation) {
  const levels = ablation.factors.map(() => 0);
  /** @type {number | null} */
  let turned = null;
  const strip = errorStrip(ablation);
  const rows = ablation.factors.map((factor, at) => {
    const group = make("div", { class: "choice", role: "group", "aria-label": factor.name });
    const press = choices(group, factor.levels, (level) => {
      if (levels[at] === level) return;
      levels[at] = level;
      turned = at;
      show();
    });
    const effect = effectPlot();
    const text = make("p", { class: "effect-text" });
    const row = make(
      "div",
      { class: "switch" },
      make("h3", {}, factor.name),
      group,
      effect.element,
      text,
    );
    return { row, press, effect, text };
  });
  const show = () => {
    rows.forEach(({ row, effect, text }, at) => {
      const here = switchOf(ablation, levels, at);
      const { main } = ablation.factors[at];
      effect.show(here, main);
      text.replaceChildren(
        number(`${points(here.mean)} ${range(here)}`, "effect"),
        " here; ",
        number(points(main.mean), "main-effect"),
        " on average",
      );
      row.classList.toggle("turned", turned === at);
    });
    strip.show(cellOf(levels));
    pressEnd(levels.every((level) => level === levels[0]) ? levels[0] : -1);
    said.replaceChildren(...sentence(ablation, levels, turned));
  };
  const pressEnd = choices(presets, ["1998", "today"], (end) => {
    levels.fill(end);
    turned = null;
    rows.forEach(({ press }) => press(end));
    show();
  });
  place.append(strip.element, heading(), ...rows.map(({ row }) => row));
  show();
}

/** What the columns of the switches are, with the axis of effects. */
function heading() {
  const axis = make("span", { class: "axis" });
  for (const fraction of [-EFFECTS, 0, EFFECTS]) {
    axis.append(make("span", {}, points(fraction)));
  }
  return make(
    "div",
    { class: "switch heading" },
    make("span", {}, "1998 or today"),
    make("span", {}),
    make("span", {}, "\u2190 fewer errors", make("br"), axis),
    make("span", {}, "dot and line: here, with its interval; bar: on average"),
  );
}

/**
 * An interval in percentage points.
 * @param {Estimate} estimate
 */
function range({ low, high }) {
  return low === null || high === null ? "" : `[${points(low)}, ${points(high)}]`;
}

/**
 * The cell, and what the switch did, in words.
 * @param {Ablation} ablation
 * @param {number[]} levels
 * @param {number | null} turned
 */
function sentence(ablation, levels, turned) {
  const cell = ablation.cells[cellOf(levels)];
  const collapsed = cell.errors.length - cell.n;
  const limits =
    cell.low === null || cell.high === null
      ? ""
      : ` (${decimals(100 * cell.low)} to ${decimals(100 * cell.high)})`;
  const parts = [
    "With these levels ",
    number(`${cell.n} seeds`, "seed"),
    " misread ",
    number(percent(cell.mean) + limits, "interval"),
    " of the test digits.",
  ];
  if (collapsed)
    parts.push(` ${collapsed} more `, number("collapsed", "collapse"), ": it only guesses.");
  if (turned !== null) {
    const { name, levels: named } = ablation.factors[turned];
    const { mean, low, high } = switchOf(ablation, levels, turned);
    const sure = low !== null && high !== null && (high < 0 || low > 0);
    const does = mean < 0 ? "takes off" : "adds";
    const effect = `${points(Math.abs(mean)).slice(1)} points`;
    parts.push(
      ` ${name}: ${named[1]} in place of ${named[0]} ${does} `,
      number(effect, "effect"),
      sure ? " here." : " here, which may be chance.",
    );
  }
  return parts;
}

/**
 * An SVG element.
 * @param {string} tag
 * @param {Record<string, string | number>} attributes
 * @param {...SVGElement} children
 */
function shape(tag, attributes, ...children) {
  const element = /** @type {SVGElement} */ (document.createElementNS(NAMESPACE, tag));
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** One switch's effect: its interval and mean here, and its mean over all settings. */
function effectPlot() {
  const [width, height] = [200, 26];
  /** @param {number} fraction */
  const at = (fraction) =>
    width / 2 + (Math.max(-1, Math.min(1, fraction / EFFECTS)) * width) / 2.1;
  const middle = height / 2;
  const line = shape("line", { class: "interval", y1: middle, y2: middle });
  const dot = shape("circle", { class: "mean", cy: middle, r: 4.5 });
  const tick = shape("line", { class: "main", y1: 4, y2: height - 4 });
  const zero = shape("line", { class: "zero", x1: at(0), x2: at(0), y1: 0, y2: height });
  const element = shape(
    "svg",
    { class: "effect", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
    zero,
    tick,
    line,
    dot,
  );
  /** @param {Estimate} here @param {Estimate} main */
  const show = (here, main) => {
    line.setAttribute("x1", String(at(here.low ?? -EFFECTS)));
    line.setAttribute("x2", String(at(here.high ?? EFFECTS)));
    dot.setAttribute("cx", String(at(here.mean)));
    for (const end of ["x1", "x2"]) tick.setAttribute(end, String(at(main.mean)));
  };
  return { element, show };
}

/**
 * The seeds of the chosen cell on an axis of errors, over the means of all cells.
 * @param {Ablation} ablation
 */
function errorStrip(ablation) {
  const [width, height, left] = [640, 84, 8];
  const [low, high] = ERRORS.map(Math.log);
  /** @param {number} fraction */
  const at = (fraction) =>
    left +
    ((Math.log(Math.min(Math.max(fraction, ERRORS[0]), ERRORS[1])) - low) / (high - low)) *
      (width - 2 * left);
  const axis = [0.005, 0.01, 0.02, 0.03].flatMap((fraction) => {
    const text = shape("text", { x: at(fraction), y: height - 4, "text-anchor": "middle" });
    text.textContent = `${100 * fraction} %`;
    return [
      shape("line", { class: "tick", x1: at(fraction), x2: at(fraction), y1: 8, y2: height - 20 }),
      text,
    ];
  });
  const all = ablation.cells.map(({ mean }) =>
    shape("line", { class: "other", x1: at(mean), x2: at(mean), y1: height - 32, y2: height - 22 }),
  );
  const band = shape("rect", { class: "band", y: 10, height: 30, rx: 3 });
  const mean = shape("line", { class: "cell-mean", y1: 8, y2: 42 });
  const told = make("p", { class: "told" }, ASK);
  const seeds = ablation.seeds.map((_, which) => {
    const cy = 17 + ((which * 5) % 4) * 5.5;
    const dot = shape("circle", { class: "seed", r: 4, cy }, shape("title", {}));
    dot.addEventListener("pointerenter", () => (told.textContent = dot.textContent));
    dot.addEventListener("pointerleave", () => (told.textContent = ASK));
    return dot;
  });
  const svg = shape(
    "svg",
    {
      class: "errors",
      viewBox: `0 0 ${width} ${height}`,
      role: "img",
      "aria-label": "Test errors of the chosen setting's seeds, over the means of all settings",
    },
    ...axis,
    ...all,
    band,
    mean,
    ...seeds,
  );
  const element = make("figure", { class: "strip-plot" });
  element.append(
    svg,
    make(
      "figcaption",
      {},
      `test error: a dot for each seed, a bar for their mean with its 95 % interval; below, the means of all ${ablation.cells.length} settings`,
    ),
    told,
  );
  /** @param {number} number */
  const show = (number) => {
    const cell = ablation.cells[number];
    const [from, to] = [at(cell.low ?? cell.mean), at(cell.high ?? cell.mean)];
    band.setAttribute("x", String(from));
    band.setAttribute("width", String(Math.max(to - from, 1)));
    for (const end of ["x1", "x2"]) mean.setAttribute(end, String(at(cell.mean)));
    seeds.forEach((seed, which) => {
      const error = cell.errors[which];
      const kept = error !== null && error !== undefined && error < GUESSING;
      const end = error === null || error === undefined ? "diverged" : percent(error);
      /** @type {Element} */ (seed.firstChild).textContent =
        `seed ${ablation.seeds[which]}: ${end}, run ${cell.runs[which]}`;
      seed.classList.toggle("collapsed", !kept);
      seed.style.transform = `translateX(${at(error ?? 1)}px)`;
    });
    all.forEach((line, other) => line.classList.toggle("chosen", other === number));
  };
  return { element, show };
}
