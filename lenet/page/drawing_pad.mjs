// The pad: strokes of mouse, finger, pen or keys; undone one by one; or a digit to start
// from. Its ink is the canvas's alpha.
import { SIDE } from "./network.mjs";

/** @typedef {{ width: number, points: [number, number][] }} Stroke */
/** @typedef {import("./drawing.mjs").Picture} Picture */

const STEP = 6; // pixels of the canvas that an arrow key moves the pen
const MOVES = new Map([
  ["ArrowLeft", [-1, 0]],
  ["ArrowRight", [1, 0]],
  ["ArrowUp", [0, -1]],
  ["ArrowDown", [0, 1]],
]);

export class Pad {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {HTMLElement} cursor that shows where the keys' pen is
   * @param {() => void} changed
   */
  constructor(canvas, cursor, changed) {
    this.canvas = canvas;
    this.cursor = cursor;
    this.changed = changed;
    /** @type {Stroke[]} */
    this.strokes = [];
    /** @type {Uint8Array | null} an image of 28x28 beneath the strokes */
    this.under = null;
    this.example = false; // whether that image gives way to the first stroke
    this.thickness = 22;
    this.place = [canvas.width / 2, canvas.height / 4];
    /** @type {Stroke | null} what is being drawn */
    this.current = null;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    if (!context) throw new Error("this browser paints no canvas");
    [context.lineCap, context.lineJoin] = ["round", "round"];
    this.context = context;
    this.listen();
  }

  /**
   * Say what to do here, until somebody has drawn.
   * @param {HTMLElement} hint
   * @param {boolean} drawn
   */
  showHint(hint, drawn) {
    hint.hidden = drawn && !this.example;
    hint.textContent = this.example ? "an example: draw your own" : "draw a digit here";
    hint.classList.toggle("below", this.example);
  }

  /** Have pointers and keys draw. */
  listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      canvas.setPointerCapture(event.pointerId);
      this.begin(this.placeOf(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.current || !canvas.hasPointerCapture(event.pointerId)) return;
      const passed = event.getCoalescedEvents?.() ?? [];
      (passed.length ? passed : [event]).forEach((one) => this.extend(this.placeOf(one)));
    });
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, () => this.lift());
    }
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => this.lift());
  }

  /**
   * Where on the canvas a pointer is.
   * @param {PointerEvent} event
   * @returns {[number, number]}
   */
  placeOf(event) {
    const box = this.canvas.getBoundingClientRect();
    return [
      ((event.clientX - box.left) / box.width) * this.canvas.width,
      ((event.clientY - box.top) / box.height) * this.canvas.height,
    ];
  }

  /**
   * What a key does: arrows move, space sets the pen down or lifts it.
   * @param {KeyboardEvent} event
   */
  key(event) {
    const move = MOVES.get(event.key);
    if (move) {
      const [x, y] = this.place.map((at, axis) =>
        Math.min(Math.max(at + STEP * move[axis], 0), this.canvas.width),
      );
      this.place = [x, y];
      if (this.current) this.extend([x, y]);
    } else if (event.key === " " || event.key === "Enter") {
      if (this.current) this.lift();
      else this.begin([this.place[0], this.place[1]]);
    } else if (event.key === "Escape") {
      this.lift();
    } else if (
      event.key === "Backspace" ||
      (event.key === "z" && (event.ctrlKey || event.metaKey))
    ) {
      this.undo();
    } else if (event.key === "Delete") {
      this.clear();
    } else {
      return;
    }
    event.preventDefault();
    this.showCursor();
  }

  /** Show where the keys' pen is, and whether it is down. */
  showCursor() {
    const { style, dataset } = this.cursor;
    style.left = `${(100 * this.place[0]) / this.canvas.width}%`;
    style.top = `${(100 * this.place[1]) / this.canvas.height}%`;
    dataset.down = String(Boolean(this.current));
  }

  /** @param {[number, number]} place */
  begin(place) {
    if (this.example) this.clear();
    this.current = { width: this.thickness, points: [place] };
    this.strokes.push(this.current);
    this.draw(this.current, 0);
    this.changed();
  }

  /** @param {[number, number]} place */
  extend(place) {
    if (!this.current) return;
    this.current.points.push(place);
    this.draw(this.current, this.current.points.length - 2);
    this.changed();
  }

  /** Lift the pen. */
  lift() {
    this.current = null;
    this.showCursor();
  }

  /** Take the last stroke away, and the digit beneath after the last one. */
  undo() {
    this.current = null;
    if (this.strokes.pop()) this.redraw();
    else this.clear();
  }

  /** Take everything away. */
  clear() {
    this.show(null);
  }

  /**
   * Start anew from an image of 28x28, or from nothing.
   * @param {Uint8Array | null} image
   * @param {boolean} [example] whether it gives way to the first stroke
   */
  show(image, example = false) {
    this.example = example;
    this.current = null;
    this.strokes = [];
    this.under = image;
    this.redraw();
  }

  /** Draw everything again. */
  redraw() {
    const { context, canvas } = this;
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (this.under) {
      const small = document.createElement("canvas");
      [small.width, small.height] = [SIDE, SIDE];
      const pixels = new ImageData(SIDE, SIDE);
      this.under.forEach((ink, at) => (pixels.data[4 * at + 3] = ink));
      small.getContext("2d")?.putImageData(pixels, 0, 0);
      context.imageSmoothingEnabled = false;
      context.drawImage(small, 0, 0, canvas.width, canvas.height);
    }
    this.strokes.forEach((stroke) => this.draw(stroke, 0));
    this.changed();
  }

  /**
   * Draw a stroke from one of its points on.
   * @param {Stroke} stroke
   * @param {number} from
   */
  draw({ width, points }, from) {
    const { context } = this;
    context.lineWidth = width;
    context.beginPath();
    context.moveTo(...points[from]);
    const rest = points.slice(from + 1);
    (rest.length ? rest : [points[from]]).forEach((point) => context.lineTo(...point));
    context.stroke();
  }

  /** The ink as a grey picture; null without strokes, when the image beneath is all. */
  picture() {
    if (!this.strokes.length) return null;
    const { width, height } = this.canvas;
    const { data } = this.context.getImageData(0, 0, width, height);
    const pixels = new Uint8Array(width * height);
    for (let at = 0; at < pixels.length; at++) pixels[at] = data[4 * at + 3];
    return { pixels, width, height };
  }
}
