// Videos, sounds and other files, of workflows that take some.

import { byId, make } from "./elements.js";
import { Failure } from "./failure.js";
import { fileSize, t } from "./language.js";
import { fileDescription, imageLabel } from "./workflow-words.js";

const ACCEPTED = { video: "video/*", audio: "audio/*,video/*" };

/** Return the name of a file that has to be chosen and is not, or null. */
export function missingFileName(workflow, files) {
  const names = Object.keys(workflow.files);
  return names.find((name) => workflow.files[name].required && !files[name]) ?? null;
}

/** Return a chosen file as it is sent, if it is not too large for that. */
export function readFile(file, limits) {
  if (file.size > limits.fileBytes) throw new Failure("fileTooLarge");
  return { blob: file, name: file.name };
}

/**
 * Show a place for each file.
 *
 * @param {object} files What is chosen, by the file's name.
 * @param {(name: string, file: File | null) => void} take Called with a choice, null to remove it.
 */
export function showExtraFiles(workflow, files, take) {
  const places = Object.keys(workflow.files).map((name) => place(workflow, name, files[name], take));
  byId("extra-files").replaceChildren(...places);
  byId("extra-files").hidden = places.length === 0;
}

function place(workflow, name, chosen, take) {
  const { media, required } = workflow.files[name];
  const label = imageLabel(name);
  const accept = ACCEPTED[media] ? { accept: ACCEPTED[media] } : {};
  const input = make("input", { type: "file", ...accept, hidden: true, id: `file-${name}` });
  input.addEventListener("change", () => input.files.length > 0 && take(name, input.files[0]));
  const choose = action(t("photo.chooseShort"), t("photo.chooseNamed", { name: label }));
  choose.addEventListener("click", () => input.click());
  const actions = make("div", { className: "actions" }, choose, input);
  if (chosen) {
    const remove = action(t("photo.remove"), t("photo.removeNamed", { name: label }));
    remove.addEventListener("click", () => take(name, null));
    actions.append(remove);
  }
  const optional = required ? "" : ` (${t("photo.optional")})`;
  const about = chosen
    ? `${chosen.name}, ${fileSize(chosen.blob.size)}`
    : fileDescription(workflow, name);
  const words = make("div", {}, make("strong", {}, label), optional, make("p", { className: "fine" }, about));
  return make("div", { className: "extra-file" }, words, actions);
}

function action(text, label) {
  return make("button", { type: "button", className: "link", "aria-label": label }, text);
}
