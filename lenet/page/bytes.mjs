// What the page's file carries as text: bytes and numbers in base64.

/**
 * The bytes that a text in base64 stands for.
 * @param {string} text
 * @returns {Uint8Array}
 */
export function bytesOf(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

/**
 * The float32 numbers, in little endian, that a text in base64 stands for.
 * @param {string} text
 * @returns {Float32Array}
 */
export function numbersOf(text) {
  const bytes = bytesOf(text);
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length / 4 }, (_, at) => view.getFloat32(4 * at, true));
}

/**
 * The small images, 28x28 bytes each, that one text in base64 stands for.
 * @param {string} text
 * @returns {Uint8Array[]}
 */
export function imagesOf(text) {
  const bytes = bytesOf(text);
  return Array.from({ length: bytes.length / 784 }, (_, at) =>
    bytes.subarray(784 * at, 784 * (at + 1)),
  );
}
