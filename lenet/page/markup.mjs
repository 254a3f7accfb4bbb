// Elements of the page, made and found.

/**
 * A new element with attributes and children; a text is a child too.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string | number>} attributes
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    element.setAttribute(name, String(value));
  }
  element.append(...children);
  return element;
}

/**
 * A network's card: its name, two pictures side by side, each over its caption, and what
 * stands below them.
 * @param {string} name
 * @param {[Node, Node][]} pictures
 * @param {...Node} below
 */
export function pairCard(name, pictures, ...below) {
  const figures = pictures.map((parts) => make("figure", {}, ...parts));
  const pair = make("div", { class: "pair" }, ...figures);
  return make("article", { class: "card" }, make("h4", {}, name), pair, ...below);
}

/**
 * The element of the page that has this id and kind.
 * @template {HTMLElement} Kind
 * @param {string} id
 * @param {new () => Kind} kind
 * @returns {Kind}
 */
export function byId(id, kind) {
  const element = document.getElementById(id);
  if (!(element instanceof kind)) throw new Error(`the page has no ${kind.name} ${id}`);
  return element;
}

/**
 * A number, as a link to the word that says what it means.
 * @param {string} text
 * @param {string} word
 * @returns {HTMLAnchorElement}
 */
export function number(text, word) {
  return make("a", { class: "number", href: `#word-${word}` }, text);
}

/**
 * Choices of which one is pressed: buttons in a row.
 * @param {HTMLElement} place
 * @param {string[]} names
 * @param {(at: number) => void} choose
 * @returns {(at: number) => void} what presses one without choosing it
 */
export function choices(place, names, choose) {
  const buttons = names.map((name, at) => {
    const button = make("button", { type: "button", "aria-pressed": "false" }, name);
    button.addEventListener("click", () => {
      press(at);
      choose(at);
    });
    return button;
  });
  /** @param {number} at */
  const press = (at) =>
    buttons.forEach((button, other) => button.setAttribute("aria-pressed", String(other === at)));
  place.replaceChildren(...buttons);
  press(0);
  return press;
}

/**
 * A number with so many decimals, a tie away from zero: lenet/rounding.py's rule. Errors
 * are counts of images, so that ties happen; toFixed makes 1.00 of 1.005.
 * @param {number} value
 * @param {number} [places]
 */
export function decimals(value, places = 2) {
  const shifted = Number(Math.abs(value * 10 ** places).toPrecision(12));
  const rounded = Math.round(shifted) / 10 ** places;
  return (value < 0 && rounded ? "-" : "") + rounded.toFixed(places);
}

/**
 * A fraction in per cent.
 * @param {number} fraction
 * @param {number} [digits]
 */
export function percent(fraction, digits = 2) {
  return `${decimals(100 * fraction, digits)}\u202f%`;
}

/**
 * A fraction in percentage points, signed with a true minus.
 * @param {number} fraction
 */
export function points(fraction) {
  const text = decimals(Math.abs(100 * fraction));
  if (Number(text) === 0) return text;
  return (fraction < 0 ? "\u2212" : "+") + text;
}
