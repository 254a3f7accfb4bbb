// Digits to pick from: of the test set, and those that most networks miss; or a picture.
import { imagesOf } from "./bytes.mjs";
import { asMnist } from "./drawing.mjs";
import { choices, make, percent } from "./markup.mjs";
import { blank, paint } from "./picture.mjs";
import { placeAfter } from "./unit_walk.mjs";

/**
 * A group of digits as the page's file carries it.
 * @typedef {{ title: string, images: string, labels: number[], places: number[], missed?: number[], runs?: number }} Group
 */

const MOST = 800; // pixels of a picture's longer side that are looked at

/**
 * Offer groups of digits; a click shows one.
 * @param {HTMLElement} tabs
 * @param {HTMLElement} strip
 * @param {Group[]} groups
 * @param {(image: Uint8Array, label: number) => void} pick
 * @returns {() => void} what paints the pictures again
 */
export function offer(tabs, strip, groups, pick) {
  const rows = groups.map((group) => buttonsOf(group, pick));
  /** @param {number} at */
  const open = (at) => {
    strip.replaceChildren(...rows[at].buttons);
    strip.setAttribute("aria-label", groups[at].title);
    strip.scrollLeft = 0;
  };
  strip.addEventListener("keydown", (event) => stepThrough(strip, event));
  choices(
    tabs,
    groups.map(({ title }) => title),
    open,
  );
  open(0);
  return () => rows.forEach(({ paintAll }) => paintAll());
}

/**
 * Arrow keys lead from digit to digit: to Tab they are one stop.
 * @param {HTMLElement} strip
 * @param {KeyboardEvent} event
 */
function stepThrough(strip, event) {
  const buttons = [...strip.querySelectorAll("button")];
  const at = buttons.findIndex((button) => button === document.activeElement);
  const to = placeAfter(event.key, at, buttons.length);
  if (at < 0 || to === null) return;
  event.preventDefault();
  buttons.forEach((button, other) => (button.tabIndex = other === to ? 0 : -1));
  buttons[to].focus();
}

/**
 * A button for each digit of a group.
 * @param {Group} group
 * @param {(image: Uint8Array, label: number) => void} pick
 */
function buttonsOf(group, pick) {
  const images = imagesOf(group.images);
  const canvases = images.map(() => blank(28, 28));
  const buttons = images.map((image, at) => {
    const [label, place] = [group.labels[at], group.places[at]];
    const share =
      group.missed && `, missed by ${percent(group.missed[at], 0)} of ${group.runs} networks`;
    const said = `A ${label}: test image ${place}${share ?? ""}`;
    const button = make("button", {
      type: "button",
      class: "pick",
      title: said,
      "aria-label": said,
    });
    button.tabIndex = at ? -1 : 0;
    button.append(canvases[at]);
    button.addEventListener("click", () => pick(image, label));
    return button;
  });
  const paintAll = () => images.forEach((image, at) => paint(canvases[at], image, 255));
  return { buttons, paintAll };
}

/**
 * Read a picture of a digit from a file; null if it holds no ink.
 * @param {Blob} file
 * @returns {Promise<Uint8Array | null>}
 */
export async function readPicture(file) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, MOST / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((side) =>
    Math.max(1, Math.round(side * scale)),
  );
  const canvas = blank(width, height);
  const context = canvas.getContext("2d");
  if (!context) throw new Error("this browser paints no canvas");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const pixels = Uint8Array.from({ length: width * height }, (_, at) => greyOf(data, 4 * at));
  return asMnist({ pixels, width, height });
}

/**
 * How light a pixel is, as ITU-R 601 weighs its colours.
 * @param {Uint8ClampedArray} data
 * @param {number} at
 * @returns {number}
 */
function greyOf(data, at) {
  return (299 * data[at] + 587 * data[at + 1] + 114 * data[at + 2] + 500) / 1000;
}
