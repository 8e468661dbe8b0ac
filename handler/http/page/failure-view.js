// A failure below the picture: a sentence, what to change, and buttons for it.

import { byId, make } from "./elements.js";
import { t } from "./language.js";

const ABOUT_THE_PHOTO = new Set([
  "unreadable",
  "tooLargeToShrink",
  "input_too_large",
  "request_too_large",
  "not_an_image",
  "invalid_input",
]);

/**
 * Show a failure.
 *
 * @param {import("./failure.js").Failure} failure
 * @param {{retry: ?Function, choosePhoto: Function, goTo: (name: string) => ?{label: string, go: Function}}} ways
 *   What may be done about it.
 */
export function showFailure(failure, { retry, choosePhoto, goTo }) {
  byId("failure").hidden = false;
  byId("failure-title").textContent = failure.title;
  const { text, lang } = failure.advice;
  const message = byId("failure-message");
  message.textContent = text;
  message.hidden = text === "";
  if (lang === null) message.removeAttribute("lang");
  else message.lang = lang;
  const job = byId("failure-job");
  job.hidden = !(failure.job && failure.code === "internal");
  job.textContent = `${t("failure.job", { job: failure.job })}. ${t("failure.jobOnly")}`;
  byId("failure-actions").replaceChildren(...buttons(failure, retry, choosePhoto, goTo));
}

export function hideFailure() {
  byId("failure").hidden = true;
}

/** Put the keyboard on the first thing that may be done; return whether there is any. */
export function focusFailure() {
  const first = byId("failure-actions").querySelector("button");
  first?.focus();
  return first !== null;
}

function buttons(failure, retry, choosePhoto, goTo) {
  const found = [];
  const setting = failure.details.parameter && goTo(failure.details.parameter);
  if (failure.retryable && retry) found.push([t("failure.retry"), retry]);
  if (setting) found.push([t("failure.setting", { name: setting.label }), setting.go]);
  if (ABOUT_THE_PHOTO.has(failure.code)) found.push([t("failure.photo"), choosePhoto]);
  return found.map(([text, act], place) => {
    const className = place === 0 ? "primary" : "secondary";
    const button = make("button", { type: "button", className }, text);
    button.addEventListener("click", act);
    return button;
  });
}
