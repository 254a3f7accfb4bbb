// Understand: which pixels speak for an answer, and where in a layer its evidence lies.
import { gradCam } from "./gradcam.mjs";
import { make, pairCard } from "./markup.mjs";
import { answer, forward } from "./network.mjs";
import { blank, largestOf, paint, paintOver } from "./picture.mjs";
import { METHODS } from "./saliency.mjs";

/** @typedef {import("./network.mjs").Network} Network */
/** @typedef {import("./network.mjs").Signal} Signal */
/** @typedef {import("./reading.mjs").Run} Run */
/** @typedef {import("./gradcam.mjs").MapLayer} MapLayer */

/**
 * Saliency and Grad-CAM of an image, for every network.
 * @param {HTMLElement} place
 * @param {{ explained: HTMLSelectElement, method: HTMLSelectElement, layer: HTMLSelectElement }} asked
 * @param {Run[]} runs
 * @param {Network[]} networks
 */
export function evidence(place, asked, runs, networks) {
  const cards = runs.map(mapsCard);
  place.append(...cards.map(({ card }) => card));
  /** @type {Signal | null} */
  let image = null;
  const update = () => {
    networks.forEach((network, which) => {
      if (!image) return cards[which].clear();
      const own = answer(forward(network, image).outputs.output);
      const chosen = asked.explained.value === "own" ? own : Number(asked.explained.value);
      const slopes = METHODS[asked.method.value](network, image, chosen);
      const layer = /** @type {MapLayer} */ (asked.layer.value);
      cards[which].show(chosen, image, slopes, gradCam(network, image, chosen, layer));
    });
  };
  for (const select of Object.values(asked)) select.addEventListener("change", update);
  /** @param {Signal | null} looked */
  const show = (looked) => {
    image = looked;
    update();
  };
  return { show };
}

/**
 * A network's saliency and Grad-CAM.
 * @param {Run} run
 */
function mapsCard(run) {
  const saliency = blank(28, 28, "map large");
  const evidence = blank(28, 28, "map large");
  const said = [make("figcaption"), make("figcaption")];
  const card = pairCard(run.name, [
    [saliency, said[0]],
    [evidence, said[1]],
  ]);
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
