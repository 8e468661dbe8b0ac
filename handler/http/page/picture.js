// The picture box: a photo, the work on it, or before and after with a divider.

import { onLanguage, t } from "./language.js";
import { byId } from "./elements.js";

const GLIDE_MS = 900;
// Nearer to an edge than this, a tag would be covered by the divider.
const TAG_SHARE = 16;

const box = byId("picture");
const before = byId("before");
const after = byId("after");
const divider = byId("divider");
const calm = matchMedia("(prefers-reduced-motion: reduce)");
let gliding = 0;

export function setUpPicture() {
  divider.addEventListener("input", () => {
    stopGliding();
    place(Number(divider.value));
  });
  box.addEventListener("pointerdown", (event) => {
    if (box.dataset.mode !== "compare" || event.button !== 0) return;
    event.preventDefault();
    stopGliding();
    box.setPointerCapture(event.pointerId);
    box.classList.add("is-held");
    divider.focus({ focusVisible: false, preventScroll: true });
    placeAt(event);
  });
  box.addEventListener("pointermove", (event) => {
    if (box.hasPointerCapture(event.pointerId)) placeAt(event);
  });
  box.addEventListener("lostpointercapture", () => box.classList.remove("is-held"));
  onLanguage(() => place(Number(divider.value)));
}

export function hidePicture() {
  box.hidden = true;
}

/** Show a photo as it was chosen. */
export function showPhoto(photo) {
  show("photo", photo.width / photo.height);
  setBefore(photo);
  after.removeAttribute("src");
}

/** Show that work on a photo goes on. */
export function showWork(photo) {
  show("work", photo.width / photo.height);
  setBefore(photo);
  after.classList.add("is-sketch");
  after.src = photo.url;
  after.alt = "";
  place(100);
}

/** Move the work on: a share of 0 to 1, and the whole picture so far where there is one. */
export function advanceWork(fraction, preview) {
  if (box.dataset.mode !== "work") return;
  if (preview) {
    after.classList.remove("is-sketch");
    after.src = preview;
  }
  const sketched = after.classList.contains("is-sketch");
  place(sketched ? 100 * (1 - fraction) : 0);
}

/**
 * Show a result beside its photo.
 *
 * @param {boolean} fresh Whether it has just been made: the divider then glides to the middle.
 */
export async function showResult(result, fresh) {
  const compares = result.photo !== null;
  show(compares ? "compare" : "single", result.width / result.height);
  if (compares) setBefore(result.photo);
  else before.removeAttribute("src");
  after.classList.remove("is-sketch");
  after.src = result.url;
  after.alt = t("result.alt");
  if (fresh && compares) glide();
  else place(50);
}

/** Put the keyboard on the divider. */
export function focusDivider() {
  if (box.dataset.mode === "compare") divider.focus();
}

function show(mode, ratio) {
  stopGliding();
  box.hidden = false;
  box.dataset.mode = mode;
  box.style.setProperty("--ratio", ratio.toFixed(4));
}

function setBefore(photo) {
  before.src = photo.url;
  before.alt = t("photo.alt", { name: photo.name });
}

function placeAt(event) {
  const { left, width } = box.getBoundingClientRect();
  place((100 * (event.clientX - left)) / width);
}

function place(position) {
  const within = Math.min(100, Math.max(0, position));
  box.style.setProperty("--position", within.toFixed(2));
  divider.value = Math.round(within);
  divider.setAttribute("aria-valuetext", t("compare.value", { percent: Math.round(within) }));
  if (within < TAG_SHARE) box.dataset.hide = "before";
  else if (within > 100 - TAG_SHARE) box.dataset.hide = "after";
  else delete box.dataset.hide;
}

function glide() {
  if (calm.matches) {
    place(50);
    return;
  }
  const started = performance.now();
  place(0);
  const step = (now) => {
    const done = Math.min(1, Math.max(0, now - started) / GLIDE_MS);
    place(50 * (1 - (1 - done) ** 4));
    if (done < 1) gliding = requestAnimationFrame(step);
  };
  gliding = requestAnimationFrame(step);
}

function stopGliding() {
  cancelAnimationFrame(gliding);
}
