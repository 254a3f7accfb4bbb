// Understand: where the evidence lies, and how little turns the answer.
import { ATTACKS, GREY, LARGEST, smallest } from "./attack.mjs";
import { gradCam } from "./gradcam.mjs";
import { choices, make, number } from "./markup.mjs";
import { answer, forward } from "./network.mjs";
import { blank, largestOf, paint, paintOver } from "./picture.mjs";
import { METHODS } from "./saliency.mjs";

/** @typedef {import("./network.mjs").Network} Network */
/** @typedef {import("./network.mjs").Signal} Signal */
/** @typedef {import("./reading.mjs").Run} Run */
/** @typedef {import("./gradcam.mjs").MapLayer} MapLayer */

const SLICE = 8; // milliseconds of a search between two looks at the pen

/**
 * Where the page has what this module fills and asks.
 * @typedef {{
 *   explained: HTMLSelectElement, method: HTMLSelectElement, layer: HTMLSelectElement,
 *   maps: HTMLElement, attack: HTMLElement, epsilon: HTMLInputElement,
 *   size: HTMLOutputElement, attacked: HTMLElement, verdict: HTMLElement,
 * }} Places
 */

/**
 * The maps and attacks of an image, for every network.
 * @param {Places} places
 * @param {Run[]} runs
 * @param {Network[]} networks
 */
export function explanations(places, runs, networks) {
  /** @type {Signal | null} */
  let image = null;
  let attack = "pgd";
  const maps = networks.map((_, which) => mapsCard(runs[which]));
  const attacks = networks.map((_, which) => attackCard(runs[which]));
  places.maps.append(...maps.map(({ card }) => card));
  places.attacked.append(...attacks.map(({ card }) => card));
  choices(places.attack, ["PGD, 20 steps", "FGSM, one step"], (at) => {
    attack = ["pgd", "fgsm"][at];
    showAttacks();
    seek();
  });

  const showMaps = () => {
    networks.forEach((network, which) => {
      if (!image) return maps[which].clear();
      const own = answer(forward(network, image).outputs.output);
      const chosen = places.explained.value === "own" ? own : Number(places.explained.value);
      const layer = /** @type {MapLayer} */ (places.layer.value);
      maps[which].show(
        chosen,
        image,
        METHODS[places.method.value](network, image, chosen),
        gradCam(network, image, chosen, layer),
      );
    });
  };

  const showAttacks = () => {
    const epsilon = Number(places.epsilon.value) * GREY;
    places.size.replaceChildren(
      number(`\u03b5 = ${epsilon.toFixed(3)}`, "epsilon"),
      ` (${places.epsilon.value} of 255 levels of grey)`,
    );
    networks.forEach((network, which) => {
      if (!image) return attacks[which].clear();
      const own = answer(forward(network, image).outputs.output);
      const found = ATTACKS[attack](network, image, own, epsilon);
      const others = networks.flatMap((other, at) =>
        at === which
          ? []
          : [{ name: runs[at].name, reads: answer(forward(other, found.image).outputs.output) }],
      );
      attacks[which].show(image, found.image, own, answer(found.logits), others);
    });
  };

  let round = 0;
  /** Seek each network's smallest change, a slice at a time, until the next drawing. */
  const seek = () => {
    const mine = ++round;
    places.verdict.textContent = "";
    const looked = image;
    if (!looked) return attacks.forEach(({ radius }) => radius(undefined));
    attacks.forEach(({ radius }) => radius(undefined));
    /** @type {(number | null)[]} */
    const radii = [];
    /** @param {number} which */
    const next = (which) => {
      if (which === networks.length) {
        places.verdict.textContent = verdict(runs, radii);
        return;
      }
      const network = networks[which];
      const own = answer(forward(network, looked).outputs.output);
      const search = smallest(network, looked, own, attack);
      const go = () => {
        if (mine !== round) return;
        const until = performance.now() + SLICE;
        let step = search.next();
        while (!step.done && performance.now() < until) step = search.next();
        if (!step.done) return void setTimeout(go);
        radii[which] = step.value;
        attacks[which].radius(step.value);
        setTimeout(() => next(which + 1));
      };
      setTimeout(go);
    };
    next(0);
  };

  for (const select of [places.explained, places.method, places.layer]) {
    select.addEventListener("change", showMaps);
  }
  places.epsilon.addEventListener("input", showAttacks);
  /** @param {Signal | null} looked */
  const show = (looked) => {
    image = looked;
    showMaps();
    showAttacks();
    seek();
  };
  return { show };
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
 * A network's saliency and Grad-CAM.
 * @param {Run} run
 */
function mapsCard(run) {
  const saliency = blank(28, 28, "map large");
  const evidence = blank(28, 28, "map large");
  const said = [make("figcaption"), make("figcaption")];
  const card = make(
    "article",
    { class: "card" },
    make("h4", {}, run.name),
    make(
      "div",
      { class: "pair" },
      make("figure", {}, saliency, said[0]),
      make("figure", {}, evidence, said[1]),
    ),
  );
  /**
   * @param {number} chosen
   * @param {Signal} image
   * @param {Signal} slopes
   * @param {Signal} heat
   */
  const show = (chosen, image, slopes, heat) => {
    paint(saliency, slopes, largestOf(slopes));
    paintOver(evidence, image, heat);
    said[0].textContent = `pixels that speak for a ${chosen} (dark) or against it (blue)`;
    const empty = largestOf(heat, (value) => value) <= 0;
    said[1].textContent = empty
      ? `nothing here speaks for a ${chosen}`
      : `where the evidence for a ${chosen} lies`;
  };
  const clear = () => {
    for (const canvas of [saliency, evidence]) paint(canvas, new Float64Array(784), 1);
    said.forEach((line) => (line.textContent = "nothing drawn yet"));
  };
  return { card, show, clear };
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
  const card = make(
    "article",
    { class: "card" },
    make("h4", {}, run.name),
    make(
      "div",
      { class: "pair" },
      make("figure", {}, change, make("figcaption", {}, "the change: ink added, or taken (blue)")),
      make("figure", {}, after, make("figcaption", {}, "the digit with it")),
    ),
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
      least.textContent = `no change up to \u03b5 = ${(LARGEST * GREY).toFixed(2)} turns it`;
    else
      least.replaceChildren(
        "smallest change that turns it: ",
        number(`\u03b5 = ${epsilon.toFixed(3)}`, "smallest"),
      );
  };
  const clear = () => {
    for (const canvas of [change, after]) paint(canvas, new Float64Array(784), 1);
    said.textContent = "nothing drawn yet";
    card.classList.remove("turned");
  };
  return { card, show, radius, clear };
}
