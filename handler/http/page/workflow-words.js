// What a workflow's manifest says, in the language in use where the manifest has it.

import { language } from "./language.js";

export function titleOf(workflow) {
  return translated(workflow).title ?? (workflow.title || workflow.name);
}

export function descriptionOf(workflow) {
  return translated(workflow).description ?? workflow.description;
}

export function licenseNoteOf(workflow) {
  return translated(workflow).license_note ?? workflow.license_note;
}

export function imageLabel(name) {
  return readable(name);
}

export function imageDescription(workflow, name) {
  return translated(workflow).images?.[name] ?? workflow.images[name].description;
}

export function fileDescription(workflow, name) {
  return translated(workflow).files?.[name] ?? workflow.files[name].description;
}

/** Return a parameter with its label and description. */
export function parameterInWords(workflow, name) {
  const own = workflow.parameters[name];
  const words = translated(workflow).parameters?.[name];
  return {
    ...own,
    label: words?.label ?? readable(name),
    description: words?.description ?? own.description,
  };
}

function translated(workflow) {
  return workflow.translations?.[language()] ?? {};
}

/** Return "Line strength" for line_strength. */
function readable(name) {
  const words = name.replaceAll(/[_-]+/g, " ").trim();
  return words.charAt(0).toUpperCase() + words.slice(1);
}
