// The page computes what Python computes: on the cases in the folder $PARITY, which
// tests/page/test_page.py writes and for which it calls `node --test`.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { ATTACKS, pgd } from "../../lenet/page/attack.mjs";
import { bytesOf, imagesOf } from "../../lenet/page/bytes.mjs";
import { asMnist } from "../../lenet/page/drawing.mjs";
import { gradCam, fieldOf } from "../../lenet/page/gradcam.mjs";
import { answer, forward, LAYERS, networkOf } from "../../lenet/page/network.mjs";
import { METHODS } from "../../lenet/page/saliency.mjs";

const TOLERANCE = 1e-5;
const folder = process.env.PARITY ?? "";
assert.ok(folder, "PARITY names the folder of the cases: run tests/page/test_page.py");

/** @param {string} name */
const read = (name) => JSON.parse(readFileSync(join(folder, name), "utf8"));
const { cases, drawings } = read("cases.json");

/**
 * Fails unless two lists of numbers agree, relative to the largest of them.
 * @param {ArrayLike<number>} found
 * @param {ArrayLike<number>} expected
 * @param {string} what
 */
function agree(found, expected, what) {
  assert.equal(found.length, expected.length, what);
  let [apart, largest] = [0, 1];
  for (let at = 0; at < found.length; at++) {
    apart = Math.max(apart, Math.abs(found[at] - expected[at]));
    largest = Math.max(largest, Math.abs(expected[at]));
  }
  assert.ok(apart <= TOLERANCE * largest, `${what}: ${apart} apart, of ${largest}`);
}

/**
 * What Python found: float32 numbers, `size` of them for each image.
 * @param {string} name of the case
 * @param {string} key
 * @param {number} at which image
 * @param {number} size
 */
function expectedOf(name, key, at, size) {
  const path = join(folder, `${name}.${key}`);
  if (!kept.has(path)) kept.set(path, new Float32Array(new Uint8Array(readFileSync(path)).buffer));
  return /** @type {Float32Array} */ (kept.get(path)).subarray(at * size, (at + 1) * size);
}

/** @type {Map<string, Float32Array>} */
const kept = new Map();

for (const name of cases) {
  const { network: described, images, right, expected } = read(`${name}.json`);
  const network = networkOf(described);
  const pixels = imagesOf(images).map((image) => Float64Array.from(image, (byte) => byte / 255));
  const some = pixels.slice(0, expected.count);

  const unclear = new Set(expected.unclear);
  /** @param {(image: Float64Array, at: number) => void} compare */
  const whereClear = (compare) =>
    some.forEach((image, at) => unclear.has(at) || compare(image, at));

  /** @param {string} key @param {number} at @param {number} size */
  const of = (key, at, size) => expectedOf(name, key, at, size);

  test(`${name}: every layer`, () => {
    some.forEach((image, at) => {
      const seen = forward(network, image).outputs;
      for (const layer of LAYERS) {
        agree(seen[layer], of(layer, at, seen[layer].length), `${layer} of image ${at}`);
      }
    });
  });

  test(`${name}: few ties`, () => {
    assert.ok(unclear.size <= some.length / 50, `${unclear.size} of ${some.length}`);
  });

  test(`${name}: saliency`, () => {
    whereClear((image, at) => {
      const chosen = answer(forward(network, image).outputs.output);
      for (const [method, map] of Object.entries(METHODS)) {
        if (at >= expected.methods[method]) continue;
        agree(map(network, image, chosen), of(method, at, 784), `${method} of image ${at}`);
      }
    });
  });

  test(`${name}: Grad-CAM`, () => {
    whereClear((image, at) => {
      const chosen = answer(forward(network, image).outputs.output);
      for (const layer of /** @type {const} */ (["C1", "S2", "C3", "S4"])) {
        const { start, jump, size } = fieldOf(network, layer);
        assert.deepEqual([start, jump, size], expected.fields[layer]);
        const map = gradCam(network, image, chosen, layer);
        agree(map, of(`gradcam ${layer}`, at, 784), `${layer} of image ${at}`);
      }
    });
  });

  test(`${name}: FGSM and PGD`, () => {
    whereClear((image, at) => {
      const label = expected.labels[at];
      for (const [attack, epsilon] of expected.attacks) {
        const found = ATTACKS[attack](network, image, label, epsilon);
        agree(found.image, of(`${attack} ${epsilon}`, at, 784), `${attack} of image ${at}`);
      }
      const step = { epsilon: 0.1, step: 0.03, steps: 5, keep: /** @type {const} */ ("last") };
      const last = pgd(network, image, label, step);
      agree(last.image, of("last", at, 784), `last of image ${at}`);
    });
  });

  test(`${name}: right or wrong, as the record says`, { skip: !right }, () => {
    const bits = bytesOf(right.bits);
    /** @type {number[]} */
    const wrong = [];
    pixels.forEach((image, at) => {
      const read = answer(forward(network, image).outputs.output) === right.labels[at];
      const recorded = (bits[at >> 3] >> (7 - (at & 7))) & 1;
      if (read !== (recorded === 1)) wrong.push(at);
    });
    assert.deepEqual(wrong, []);
  });
}

test("drawings become the same bytes", () => {
  for (const { pixels, width, height, image } of drawings) {
    const found = asMnist({ pixels: bytesOf(pixels), width, height });
    assert.deepEqual(found && [...found], image && [...bytesOf(image)], `${width}x${height}`);
  }
});
