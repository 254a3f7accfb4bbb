// Understand: how little turns an answer, and which network withstands more.
import { ATTACKS, GREY, LARGEST, smallest } from "./attack.mjs";
import { choices, decimals, make, number, pairCard } from "./markup.mjs";
import { answer, forward } from "./network.mjs";
import { blank, largestOf, paint } from "./picture.mjs";

/** @typedef {import("./network.mjs").Network} Network */
/** @typedef {import("./network.mjs").Signal} Signal */
/** @typedef {import("./reading.mjs").Run} Run */

const SLICE = 8; // milliseconds of a search between two looks at the pen
const NAMES = new Map([
  ["PGD, 20 steps", "pgd"],
  ["FGSM, one step", "fgsm"],
]);

/**
 * Where the page has what is asked and shown.
 * @typedef {{
 *   attack: HTMLElement, epsilon: HTMLInputElement, size: HTMLOutputElement,
 *   attacked: HTMLElement, verdict: HTMLElement,
 * }} Places
 */

/** Attacks on what is drawn, for every network. */
export class Resistance {
  /**
   * @param {Places} places
   * @param {Run[]} runs
   * @param {Network[]} networks
   */
  constructor(places, runs, networks) {
    this.places = places;
    this.runs = runs;
    this.networks = networks;
    /** @type {Signal | null} */
    this.image = null;
    this.attack = "pgd";
    this.round = 0; // of drawings and attacks: a search of an earlier one ends
    this.cards = runs.map(attackCard);
    places.attacked.append(...this.cards.map(({ card }) => card));
    choices(places.attack, [...NAMES.keys()], (at) => {
      this.attack = [...NAMES.values()][at];
      this.update();
      void this.seek();
    });
    places.epsilon.addEventListener("input", () => this.update());
  }

  /** @param {Signal | null} image */
  show(image) {
    this.image = image;
    this.update();
    void this.seek();
  }

  /** Attack with the chosen size, and have the others read what comes out. */
  update() {
    const { places, image, networks, runs } = this;
    const epsilon = Number(places.epsilon.value) * GREY;
    places.size.replaceChildren(
      number(`\u03b5 = ${decimals(epsilon, 3)}`, "epsilon"),
      ` (${places.epsilon.value} of 255 levels of grey)`,
    );
    networks.forEach((network, which) => {
      if (!image) return this.cards[which].clear();
      const own = read(network, image);
      const found = ATTACKS[this.attack](network, image, own, epsilon);
      const others = networks
        .map((other, at) => ({ name: runs[at].name, reads: read(other, found.image) }))
        .filter((_, at) => at !== which);
      this.cards[which].show(image, found.image, own, answer(found.logits), others);
    });
  }

  /** Seek each network's smallest change, until something else is drawn. */
  async seek() {
    const round = ++this.round;
    const { image, networks, cards, places } = this;
    places.verdict.textContent = "";
    cards.forEach(({ radius }) => radius(undefined));
    if (!image) return;
    /** @type {(number | null)[]} */
    const radii = [];
    for (const [which, network] of networks.entries()) {
      const search = smallest(network, image, read(network, image), this.attack);
      const found = await pursued(search, () => round === this.round);
      if (found === undefined) return;
      radii.push(found);
      cards[which].radius(found);
    }
    places.verdict.textContent = verdict(this.runs, radii);
  }
}

/**
 * What a network reads.
 * @param {Network} network
 * @param {Signal} image
 */
function read(network, image) {
  return answer(forward(network, image).outputs.output);
}

/**
 * What a search ends with, a slice of time after the other; undefined once nobody wants it.
 * @param {Generator<void, number | null>} search
 * @param {() => boolean} wanted
 * @returns {Promise<number | null | undefined>}
 */
async function pursued(search, wanted) {
  for (;;) {
    await new Promise((resume) => setTimeout(resume));
    if (!wanted()) return undefined;
    const until = performance.now() + SLICE;
    let step = search.next();
    while (!step.done && performance.now() < until) step = search.next();
    if (step.done) return step.value;
  }
}

/**
 * Which network takes the larger change, in a sentence.
 * @param {Run[]} runs
 * @param {(number | null)[]} radii
 */
function verdict(runs, radii) {
  if (runs.length < 2) return "";
  const [first, second] = radii.map((radius) => radius ?? Infinity);
  const [one, other] = runs.map(({ name }) => name);
  if (first === second) return "On this digit both withstand the same change.";
  const [more, less] = first > second ? [one, other] : [other, one];
  return `On this digit ${more} withstands more than ${less}. One digit proves nothing: draw others.`;
}

/**
 * A network's attacked image, what is read in it, and the smallest change that turns it.
 * @param {Run} run
 */
function attackCard(run) {
  const change = blank(28, 28, "map large");
  const after = blank(28, 28, "map large");
  const said = make("p", { class: "turned" });
  const least = make("p", { class: "least" });
  const card = pairCard(
    run.name,
    [
      [change, make("figcaption", {}, "the change: ink added, or taken (blue)")],
      [after, make("figcaption", {}, "the digit with it")],
    ],
    said,
    least,
  );
  /**
   * @param {Signal} image
   * @param {Signal} attacked
   * @param {number} own
   * @param {number} reads
   * @param {{ name: string, reads: number }[]} others
   */
  const show = (image, attacked, own, reads, others) => {
    const apart = attacked.map((pixel, at) => pixel - image[at]);
    paint(change, apart, Math.max(largestOf(apart), 0.2));
    paint(after, attacked, 1);
    card.classList.toggle("turned", reads !== own);
    const first = reads === own ? `still reads ${own}` : `reads ${reads}, not ${own}`;
    said.textContent = [
      first,
      ...others.map((other) => `${other.name} reads ${other.reads} in it`),
    ].join("; ");
  };
  /** @param {number | null | undefined} epsilon */
  const radius = (epsilon) => {
    if (epsilon === undefined) least.textContent = "smallest change that turns it: \u2026";
    else if (epsilon === null)
      least.textContent = `no change up to \u03b5 = ${decimals(LARGEST * GREY)} turns it`;
    else
      least.replaceChildren(
        "smallest change that turns it: ",
        number(`\u03b5 = ${decimals(epsilon, 3)}`, "smallest"),
      );
  };
  const clear = () => {
    for (const canvas of [change, after]) paint(canvas, new Float64Array(784), 1);
    said.textContent = "nothing drawn yet";
    card.classList.remove("turned");
  };
  return { card, show, radius, clear };
}
