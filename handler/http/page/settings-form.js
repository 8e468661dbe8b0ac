// The settings of the chosen workflow, and of the file that comes out.

import { byId, make } from "./elements.js";
import { makeField } from "./fields.js";
import { t } from "./language.js";
import { parameterInWords } from "./workflow-words.js";

// Of a workflow with more parameters than this, the first few are shown and the others folded,
// but for the seed.
const MOST_SHOWN = 10;
const SHOWN_OF_MANY = 8;
let unfolded = false;

/**
 * Show the fields.
 *
 * @param {object} workflow
 * @param {object} values Parameters that are not at their default, by name; kept up to date.
 * @param {object} output The output's format and quality; kept up to date.
 */
export function showSettings(workflow, values, output) {
  const names = Object.keys(workflow.parameters);
  const most = names.length > MOST_SHOWN ? SHOWN_OF_MANY : names.length;
  const shown = names.filter(
    (name, place) => place < most || workflow.parameters[name].type === "seed",
  );
  const others = names.filter((name) => !shown.includes(name));
  const fields = (some) => some.map((name) => parameterField(workflow, name, values));
  const parts = fields(shown);
  if (others.length > 0) parts.push(folded(fields(others)));
  byId("fields").replaceChildren(...parts, ...outputFields(output));
  byId("settings").hidden = false;
  showResetAll(values);
  byId("reset-all").onclick = () => {
    for (const name of Object.keys(values)) delete values[name];
    showSettings(workflow, values, output);
    byId("fields").querySelector("input, select, textarea")?.focus();
  };
}

/** Return the first field that holds something it cannot take. */
export function firstInvalidField() {
  return byId("fields").querySelector("[aria-invalid=true]");
}

/** Return the input of a parameter, out of the fold where it is in it. */
export function parameterInput(name) {
  const input = document.getElementById(`parameter-${name}`);
  const fold = input?.closest("details");
  if (fold) fold.open = true;
  return input;
}

function parameterField(workflow, name, values) {
  const { element } = makeField(name, parameterInWords(workflow, name), values[name], (value) => {
    if (value === undefined) delete values[name];
    else values[name] = value;
    showResetAll(values);
  });
  return element;
}

function showResetAll(values) {
  byId("reset-all").hidden = Object.keys(values).length === 0;
}

function folded(fields) {
  const details = make(
    "details",
    { className: "more" },
    make("summary", {}, t("panel.more", { count: fields.length })),
    make("div", {}, ...fields),
  );
  details.open = unfolded;
  details.addEventListener("toggle", () => (unfolded = details.open));
  return details;
}

function outputFields(output) {
  const quality = makeField(
    "output-quality",
    {
      type: "integer",
      label: t("field.quality"),
      description: t("field.qualityHelp"),
      schema: { type: "integer", minimum: 1, maximum: 100, default: 90 },
    },
    output.quality,
    (value) => (output.quality = value),
  ).element;
  quality.hidden = output.format === "png";
  const format = formatField(output, () => (quality.hidden = output.format === "png"));
  return [format, quality];
}

function formatField(output, onChange) {
  const radios = ["png", "webp", "jpeg"].map((format) => {
    const radio = make("input", { type: "radio", name: "format", value: format });
    radio.checked = output.format === format;
    radio.addEventListener("change", () => {
      output.format = format;
      onChange();
    });
    return make("label", {}, radio, { png: "PNG", webp: "WebP", jpeg: "JPEG" }[format]);
  });
  const label = make("span", { className: "label", id: "format-label" }, t("field.format"));
  return make(
    "div",
    { className: "field" },
    make("div", { className: "field-head" }, label),
    make("div", { className: "segments", role: "radiogroup", "aria-labelledby": "format-label", "aria-describedby": "format-help" }, ...radios),
    make("p", { className: "fine", id: "format-help" }, t("field.formatHelp")),
  );
}
