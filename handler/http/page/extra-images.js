// Further pictures, of workflows that take more than the one photo.

import { byId, make } from "./elements.js";
import { t } from "./language.js";
import { imageDescription, imageLabel } from "./workflow-words.js";

/** Return the name of the photo that the stage shows, or null where a workflow takes none. */
export function mainImageName(workflow) {
  const names = Object.keys(workflow.images);
  return names.find((name) => workflow.images[name].required) ?? names[0] ?? null;
}

/** Return the names of the other pictures. */
export function extraImageNames(workflow) {
  return Object.keys(workflow.images).filter((name) => name !== mainImageName(workflow));
}

/**
 * Show a place for each further picture.
 *
 * @param {object} photos What is chosen, by the picture's name.
 * @param {(name: string, file: File | null) => void} take Called with a choice, null to remove it.
 */
export function showExtraImages(workflow, photos, take) {
  const places = extraImageNames(workflow).map((name) => place(workflow, name, photos[name], take));
  byId("extra-images").replaceChildren(...places);
  byId("extra-images").hidden = places.length === 0;
}

function place(workflow, name, photo, take) {
  const label = imageLabel(name);
  const input = make("input", { type: "file", accept: "image/*", hidden: true, id: `image-${name}` });
  input.addEventListener("change", () => input.files.length > 0 && take(name, input.files[0]));
  const choose = action(t("photo.chooseShort"), t("photo.chooseNamed", { name: label }));
  choose.addEventListener("click", () => input.click());
  const actions = make("div", { className: "actions" }, choose, input);
  if (photo) {
    const remove = action(t("photo.remove"), t("photo.removeNamed", { name: label }));
    remove.addEventListener("click", () => take(name, null));
    actions.append(remove);
  }
  const optional = workflow.images[name].required ? "" : ` (${t("photo.optional")})`;
  const thumbnail = photo
    ? make("img", { className: "thumbnail", src: photo.url, alt: t("photo.alt", { name: photo.name }) })
    : make("span", { className: "thumbnail" });
  const words = make(
    "div",
    {},
    make("strong", {}, label),
    optional,
    make("p", { className: "fine" }, imageDescription(workflow, name)),
  );
  return make("div", { className: "extra-image" }, thumbnail, words, actions);
}

function action(text, label) {
  return make("button", { type: "button", className: "link", "aria-label": label }, text);
}
