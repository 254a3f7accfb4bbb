// Walking through the units of a layer, by pointer or by arrow keys: to a screen reader a
// layer is a slider whose value is the unit that is looked at.

/** @typedef {import("./network.mjs").LayerName} LayerName */
/** @typedef {import("./unit.mjs").Unit} Unit */

/**
 * A layer that can be walked through.
 * @typedef {{
 *   layer: LayerName, count: number, label: string,
 *   unitAt: (event: PointerEvent) => Unit | null,
 *   said: (index: number) => string,
 *   look: (unit: Unit | null) => void,
 * }} Walk
 */

/**
 * Have an element's units looked at; `said` is what a unit is in words.
 * @param {HTMLElement} element
 * @param {Walk} walk
 */
export function walkable(element, { layer, count, label, unitAt, said, look }) {
  let index = 0;
  /** @param {Record<string, string | number>} attributes */
  const set = (attributes) => {
    for (const [name, value] of Object.entries(attributes)) {
      element.setAttribute(name, String(value));
    }
  };
  /** @param {Unit} unit */
  const visit = (unit) => {
    index = unit.index;
    set({ "aria-valuenow": index, "aria-valuetext": said(index) });
    look(unit);
  };
  /** @param {PointerEvent} event */
  const follow = (event) => {
    const unit = unitAt(event);
    if (unit) visit(unit);
  };
  set({ role: "slider", tabindex: 0, "aria-label": label });
  set({ "aria-valuemin": 0, "aria-valuemax": count - 1, "aria-valuenow": 0 });
  set({ "aria-valuetext": said(0) });
  element.addEventListener("pointermove", follow);
  element.addEventListener("pointerdown", follow);
  element.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse" && document.activeElement !== element) look(null);
  });
  element.addEventListener("focus", () => {
    if (element.matches(":focus-visible")) visit({ layer, index });
  });
  element.addEventListener("blur", () => look(null));
  element.addEventListener("keydown", (event) => {
    const to = placeAfter(event.key, index, count);
    if (to === null) return;
    event.preventDefault();
    visit({ layer, index: to });
  });
}

/**
 * The unit that a key leads to; null if it leads nowhere.
 * @param {string} key
 * @param {number} index
 * @param {number} count
 * @returns {number | null}
 */
export function placeAfter(key, index, count) {
  if (key === "ArrowRight" || key === "ArrowUp") return Math.min(index + 1, count - 1);
  if (key === "ArrowLeft" || key === "ArrowDown") return Math.max(index - 1, 0);
  if (key === "Home") return 0;
  return key === "End" ? count - 1 : null;
}
