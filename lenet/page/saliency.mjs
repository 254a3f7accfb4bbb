// Which pixels a class's logit depends on, as lenet/interpret/saliency.py has it.
import { backward, forward } from "./network.mjs";

/** @typedef {import("./network.mjs").Network} Network */
/** @typedef {import("./network.mjs").Signal} Signal */

const NODES = 50; // of the integral, as in Python

/**
 * Slopes that pick one class's logit.
 * @param {number} chosen
 * @returns {Signal}
 */
export function only(chosen) {
  return Float64Array.from({ length: 10 }, (_, at) => (at === chosen ? 1 : 0));
}

/**
 * dS/dx: how the logit of a class rises with each pixel (Simonyan et al., 2013).
 * @param {Network} network
 * @param {ArrayLike<number>} image
 * @param {number} chosen
 * @returns {Signal}
 */
export function gradient(network, image, chosen) {
  return backward(forward(network, image), only(chosen)).pixels;
}

/**
 * x dS/dx: what the logit loses without the pixel, to first order.
 * @param {Network} network
 * @param {ArrayLike<number>} image
 * @param {number} chosen
 * @returns {Signal}
 */
export function gradientTimesInput(network, image, chosen) {
  return gradient(network, image, chosen).map((slope, at) => slope * image[at]);
}

/**
 * x times the mean of dS/dx on the way from background to x: the map adds up to
 * S(x) - S(background) (Sundararajan et al., ICML 2017).
 * @param {Network} network
 * @param {ArrayLike<number>} image
 * @param {number} chosen
 * @returns {Signal}
 */
export function integratedGradients(network, image, chosen) {
  const total = new Float64Array(image.length);
  for (const [node, weight] of QUADRATURE) {
    const share = (1 + node) / 2;
    const between = Float64Array.from(image, (pixel) => pixel * share);
    gradient(network, between, chosen).forEach((slope, at) => {
      total[at] += (weight / 2) * slope;
    });
  }
  return total.map((mean, at) => mean * image[at]);
}

/**
 * Gauss and Legendre's nodes in [-1, 1] with their weights, by Newton's method.
 * @param {number} count
 * @returns {[number, number][]}
 */
export function quadrature(count) {
  return Array.from({ length: count }, (_, at) => {
    let node = -Math.cos((Math.PI * (at + 0.75)) / (count + 0.5));
    let slope = 0;
    for (let round = 0; round < 100; round++) {
      const [value, before] = legendre(count, node);
      slope = (count * (node * value - before)) / (node * node - 1);
      const change = value / slope;
      node -= change;
      if (Math.abs(change) < 1e-15) break;
    }
    return [node, 2 / ((1 - node * node) * slope * slope)];
  });
}

/**
 * Legendre's polynomials of the degrees n and n - 1 at a place.
 * @param {number} n
 * @param {number} x
 * @returns {[number, number]}
 */
function legendre(n, x) {
  let [value, before] = [x, 1];
  for (let k = 2; k <= n; k++) {
    [value, before] = [((2 * k - 1) * x * value - (k - 1) * before) / k, value];
  }
  return [value, before];
}

const QUADRATURE = quadrature(NODES);

/** @type {Record<string, (network: Network, image: ArrayLike<number>, chosen: number) => Signal>} */
export const METHODS = {
  gradient,
  gradient_times_input: gradientTimesInput,
  integrated_gradients: integratedGradients,
};
