// What came out of a job: pictures to compare, videos and sounds to play, texts to read, and files.

import { byId, make } from "./elements.js";
import { fileSize, number, t } from "./language.js";
import { seconds } from "./progress-view.js";
import { titleOf } from "./workflow-words.js";

// Where a file's ending is not the second half of its media type.
const ENDINGS = {
  "application/octet-stream": "bin",
  "audio/mpeg": "mp3",
  "model/gltf-binary": "glb",
  "model/gltf+json": "gltf",
  "video/x-matroska": "mkv",
  "image/jpeg": "jpg",
  "text/plain": "txt",
};

/**
 * Return a result for each picture of a success.
 *
 * What is no picture goes with the first; a success without any picture is a result without an
 * address.
 *
 * @param {object} success The service's response.
 * @param {object} request What was asked: workflow, values, output, photo and photos.
 */
export function resultsOf(success, request) {
  const files = success.outputs.map((output) => fileOf(output, success, request));
  const isPicture = (file) => file.kind === "image" && file.width !== null;
  const pictures = files.filter(isPicture);
  const others = files.filter((file) => !isPicture(file));
  const common = { request, seed: success.seed, seconds: success.timings.total };
  if (pictures.length === 0) return [{ ...common, url: null, others }];
  return pictures.map((picture, place) => ({
    ...common,
    ...picture,
    photo: request.photo,
    others: place === 0 ? others : [],
  }));
}

/** Show what of a result is to be played or read; nothing without a result. */
export function showMedia(result) {
  const elements = (result?.others ?? []).map(mediaElement).filter((element) => element !== null);
  byId("result-media").replaceChildren(...elements);
  byId("result-media").hidden = elements.length === 0;
}

function mediaElement({ kind, url, name, text }) {
  if (kind === "text" && text !== null) {
    return make("pre", { tabindex: 0, role: "region", "aria-label": t("result.text") }, text);
  }
  if (kind !== "video" && kind !== "audio") return null;
  return make(kind, { src: url, controls: true, preload: "metadata", "aria-label": name });
}

/** Show a result's facts and what may be done with it. */
export function showCaption(result, keepSeed) {
  byId("result-caption").hidden = false;
  byId("result-facts").replaceChildren(...facts(result).map((fact) => make("span", {}, fact)));
  const download = byId("download");
  download.hidden = result.url === null;
  if (result.url !== null) {
    download.href = result.url;
    download.download = result.name;
  }
  const actions = byId("result-actions");
  actions.querySelectorAll(".made").forEach((element) => element.remove());
  for (const file of result.others) {
    const label = t("result.downloadFile", { name: file.name });
    actions.append(
      make("a", { className: "primary made", href: file.url, download: file.name }, label),
    );
  }
  if (keepSeed !== null) {
    const button = make("button", { type: "button", className: "secondary made" });
    button.textContent = t("result.keepSeed");
    button.addEventListener("click", keepSeed);
    actions.append(button);
  }
}

/** Show every picture made so far, to go back to; call `choose` with one. */
export function showStrip(results, shown, choose) {
  const pictures = results.filter((result) => result.url !== null);
  byId("strip").hidden = pictures.length < 2;
  const buttons = pictures.map((result, place) => {
    const workflow = titleOf(result.request.workflow);
    const label = t("strip.entry", { number: place + 1, workflow });
    const image = make("img", { src: result.url, alt: "" });
    const button = make("button", { type: "button", "aria-label": label }, image);
    if (result === shown) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => choose(result));
    return make("li", {}, button);
  });
  const focused = byId("strip-list").contains(document.activeElement);
  byId("strip-list").replaceChildren(...buttons);
  const current = byId("strip-list").querySelector("[aria-current]");
  // Only the strip scrolls, never the page.
  if (current) byId("strip-list").scrollLeft = current.offsetLeft - byId("strip-list").offsetLeft;
  if (focused) current?.focus();
}

function facts(result) {
  const found = [];
  if (result.url !== null) {
    found.push(
      t("photo.size", { width: result.width, height: result.height }),
      result.type.replace("image/", "").toUpperCase(),
      fileSize(result.bytes),
    );
  }
  found.push(t("result.seconds", { seconds: seconds(result.seconds) }));
  if (result.seed !== null) {
    found.push(t("result.seed", { seed: number(result.seed, { useGrouping: false }) }));
  }
  return found;
}

function fileOf(output, success, request) {
  const { kind, text, width, height, bytes, content_type: type } = output;
  const blob = new Blob([text ?? bytesOf(output.base64)], { type });
  const url = URL.createObjectURL(blob);
  return { url, name: nameOf(output, request), kind, text, width, height, bytes, type };
}

function nameOf({ kind, content_type: type, node_id: node, width }, { workflow, photo }) {
  const stem = photo ? `${photo.name.replace(/\.[^.]*$/, "")}-` : "";
  const which = width === null || kind !== "image" ? `-${node}` : "";
  const [plainType] = type.split(";");
  const ending = ENDINGS[plainType] ?? plainType.split("/")[1].replace(/^x-|\+.*$/g, "");
  return `${stem}${workflow.name}${which}.${ending}`;
}

function bytesOf(base64) {
  const binary = atob(base64);
  const bytes = new Uint8Array(binary.length);
  for (let place = 0; place < binary.length; place += 1) bytes[place] = binary.charCodeAt(place);
  return bytes;
}
