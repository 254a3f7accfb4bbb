// The page: whatever is drawn is read by every network, and all that is shown follows.
import { imagesOf } from "./bytes.mjs";
import { closerLook } from "./unit_panel.mjs";
import { asMnist } from "./drawing.mjs";
import { evidence } from "./evidence.mjs";
import { kernelsCard } from "./kernels.mjs";
import { layerRows } from "./layers.mjs";
import { byId, make } from "./markup.mjs";
import { answer, forward, networkOf } from "./network.mjs";
import { Pad } from "./drawing_pad.mjs";
import { offer, readPicture } from "./digit_picker.mjs";
import { blank, paint, readTones } from "./picture.mjs";
import { readingCard } from "./reading.mjs";
import { Resistance } from "./robustness.mjs";
import { switchboard } from "./ablation.mjs";

/** @typedef {import("./network.mjs").Seen} Seen */
/** @typedef {import("./reading.mjs").Run} Run */
/** @typedef {import("./unit.mjs").Unit} Unit */
/** @typedef {{ networks: Run[], digits: import("./digit_picker.mjs").Group[], ablation: import("./ablation.mjs").Ablation | null }} Content */

const CALM = 180; // milliseconds without a stroke until maps and attacks are made anew

/** @type {Content} */
const content = JSON.parse(byId("content", HTMLScriptElement).textContent ?? "");
const runs = content.networks;
const networks = runs.map(networkOf);
const nothing = new Float64Array(784);

/** What is drawn, and what was made of it. */
const now = {
  /** @type {Float64Array | null} */
  image: null,
  /** @type {(Seen | null)[]} */
  seen: runs.map(() => null),
  /** @type {{ which: number, unit: Unit } | null} */
  looked: null,
  /** @type {number | null} the label of a digit that was picked */
  label: null,
  frame: 0,
  timer: 0,
};

readTones();
document.body.dataset.networks = String(runs.length);
const pad = new Pad(byId("pad", HTMLCanvasElement), byId("cursor", HTMLElement), changed);
const small = blank(28, 28, "map");
byId("seen", HTMLElement).append(small);
const cards = runs.map((run, which) => readingCard(run, (unit) => look(which, unit)));
const badges = runs.map(() => make("b"));
byId("badges", HTMLElement).append(
  ...runs.map(({ name }, which) => make("a", { href: "#see" }, `${name} reads `, badges[which])),
);
byId("readings", HTMLElement).append(...cards.map(({ card }) => card));
const rows = layerRows(byId("layers", HTMLElement), runs, networks, look);
const closer = closerLook(byId("closer", HTMLElement), runs, networks);
const maps = evidence(
  byId("maps", HTMLElement),
  {
    explained: byId("explained", HTMLSelectElement),
    method: byId("method", HTMLSelectElement),
    layer: byId("cam-layer", HTMLSelectElement),
  },
  runs,
  networks,
);
const resistance = new Resistance(
  {
    attack: byId("attack", HTMLElement),
    epsilon: byId("epsilon", HTMLInputElement),
    size: byId("epsilon-said", HTMLOutputElement),
    attacked: byId("attacked", HTMLElement),
    verdict: byId("verdict", HTMLElement),
  },
  runs,
  networks,
);
const kernels = runs.map((run, which) => kernelsCard(run, networks[which]));
byId("kernels", HTMLElement).append(...kernels.map(({ card }) => card));
const paintPicks = offer(
  byId("groups", HTMLElement),
  byId("strip", HTMLElement),
  content.digits,
  pick,
);
if (content.ablation) {
  switchboard(
    byId("board", HTMLElement),
    byId("cell-said", HTMLElement),
    byId("ends", HTMLElement),
    content.ablation,
  );
} else {
  byId("believe", HTMLElement).replaceChildren(
    make("h2", {}, "Believe"),
    make(
      "p",
      {},
      "The factorial is not published beside these runs: python scripts/sweep.py design=factorial trains it.",
    ),
  );
}

/**
 * Show a digit that was picked.
 * @param {Uint8Array} image
 * @param {number} label
 */
function pick(image, label) {
  pad.show(image);
  now.label = label;
}

/** Show a test digit, a 3 if there is one, which gives way to the first stroke. */
function showExample() {
  const [{ images, labels }] = content.digits;
  const at = Math.max(labels.indexOf(3), 0);
  pad.show(imagesOf(images)[at], true);
  now.label = labels[at];
}

/**
 * Look closer at a unit of a network, or at none.
 * @param {number} which
 * @param {Unit | null} unit
 */
function look(which, unit) {
  now.looked = unit && { which, unit };
  rows.mark(which, unit);
  showCloser();
}

/** Something was drawn: read it at the next frame. */
function changed() {
  if (!now.frame) now.frame = requestAnimationFrame(readDrawing);
}

/** Read what is drawn, and show what follows at once; the rest when the pen rests. */
function readDrawing() {
  now.frame = 0;
  const picture = pad.picture();
  const bytes = picture ? asMnist(picture) : pad.under;
  if (picture || !bytes) now.label = null;
  now.image = bytes && Float64Array.from(bytes, (byte) => byte / 255);
  showReadings();
  clearTimeout(now.timer);
  now.timer = window.setTimeout(showRest, CALM);
}

/** Show every layer of the image that is drawn. */
function showReadings() {
  const { image } = now;
  now.seen = networks.map((network) => image && forward(network, image));
  paint(small, image ?? nothing, 1);
  cards.forEach(({ show }, which) => show(now.seen[which], now.label));
  badges.forEach((badge, which) => {
    const seen = now.seen[which];
    badge.textContent = seen ? String(answer(seen.outputs.output)) : "\u2013";
  });
  rows.show(now.seen);
  pad.showHint(byId("hint", HTMLElement), Boolean(image));
  byId("label", HTMLElement).textContent = now.label === null ? "" : `labelled ${now.label}`;
  showCloser();
}

/** Show the unit that is looked at. */
function showCloser() {
  closer.show(now.image ?? nothing, now.seen, now.looked);
}

/** Show maps and attacks, and say the answers to who cannot see them. */
function showRest() {
  maps.show(now.image);
  resistance.show(now.image);
  const said = now.seen.map((seen, which) =>
    seen ? `${runs[which].name} reads ${answer(seen.outputs.output)}` : "",
  );
  byId("announced", HTMLElement).textContent = said.filter(Boolean).join(", ");
}

/** Paint everything again, in the colours of the page's scheme. */
function repaint() {
  readTones();
  now.looked = null;
  paintPicks();
  kernels.forEach(({ show }) => show());
  showReadings();
  showRest();
}

/**
 * Show a picture that was dropped or chosen.
 * @param {Blob | null | undefined} file
 */
async function drop(file) {
  if (!file) return;
  const said = byId("file-said", HTMLElement);
  try {
    const image = await readPicture(file);
    said.textContent = image ? "" : "no digit found: the picture is blank";
    if (image) pad.show(image);
  } catch {
    said.textContent = "this file is no picture that the browser can read";
  }
}

byId("undo", HTMLButtonElement).addEventListener("click", () => pad.undo());
byId("clear", HTMLButtonElement).addEventListener("click", () => pad.clear());
byId("thickness", HTMLInputElement).addEventListener("input", (event) => {
  pad.thickness = Number(/** @type {HTMLInputElement} */ (event.target).value);
});
byId("file", HTMLInputElement).addEventListener("change", (event) => {
  void drop(/** @type {HTMLInputElement} */ (event.target).files?.[0]);
});
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  void drop(event.dataTransfer?.files[0]);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);

showExample();
repaint();
