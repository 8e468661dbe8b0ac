// A photo on its way from a file to the service.

import { Failure } from "./failure.js";

const SHRUNK_TYPE = "image/jpeg";
const SHRUNK_QUALITY = 0.92;
const MOST_TRIES = 6;

/**
 * Read a file, and make it smaller where it has more bytes or pixels than the service takes.
 *
 * @param {File} file
 * @param {{bytes: number, pixels: number}} limits
 */
export async function readPhoto(file, limits) {
  const photo = await open(file, file.name);
  const pixels = photo.width * photo.height;
  if (file.size <= limits.bytes && pixels <= limits.pixels) return photo;
  // The browser decodes a photo upright, and so draws it.
  let scale = Math.min(1, Math.sqrt(limits.pixels / pixels), Math.sqrt(limits.bytes / file.size));
  for (let tries = 0; tries < MOST_TRIES; tries += 1, scale *= 0.75) {
    const blob = await draw(photo, scale);
    if (blob !== null && blob.size <= limits.bytes) {
      release(photo);
      return { ...(await open(blob, file.name)), shrunk: true };
    }
  }
  release(photo);
  throw new Failure("tooLargeToShrink");
}

/** Let go of a photo that is not shown any more. */
export function release(photo) {
  if (photo) URL.revokeObjectURL(photo.url);
}

/** Return a blob as a data URI. */
export function dataUri(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Failure("unreadable", { values: { name: "" } }));
    reader.readAsDataURL(blob);
  });
}

async function open(blob, name) {
  const url = URL.createObjectURL(blob);
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
  } catch (problem) {
    URL.revokeObjectURL(url);
    if (!(problem instanceof DOMException)) throw problem;
    throw new Failure("unreadable", { values: { name } });
  }
  return { blob, name, url, width: image.naturalWidth, height: image.naturalHeight, image };
}

function draw(photo, scale) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.floor(photo.width * scale));
  canvas.height = Math.max(1, Math.floor(photo.height * scale));
  const pen = canvas.getContext("2d");
  if (pen === null) return null;
  pen.imageSmoothingQuality = "high";
  pen.drawImage(photo.image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, SHRUNK_TYPE, SHRUNK_QUALITY));
}
