// English and Chinese: by the browser's language, or as chosen.

import { remember, remembered } from "./memory.js";
import en from "./strings-en.js";
import zh from "./strings-zh.js";

const STRINGS = { en, zh };
const TAGS = { en: "en", zh: "zh-Hans" };
const listeners = [];
let current = remembered("language") ?? preferred();
if (!(current in STRINGS)) current = "en";

/** The language in use: "en" or "zh". */
export function language() {
  return current;
}

/** Return a text in the language in use, its {names} filled in. */
export function t(key, values = {}) {
  const text = STRINGS[current][key];
  if (text === undefined) throw new Error(`no text ${key} in ${current}`);
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** Whether there is a text of this key. */
export function hasText(key) {
  return key in STRINGS[current];
}

/** Call `listener` now and after each change of the language. */
export function onLanguage(listener) {
  listeners.push(listener);
  listener();
}

export function setUpLanguage(button) {
  button.addEventListener("click", () => {
    current = current === "en" ? "zh" : "en";
    remember("language", current);
    listeners.forEach((listener) => listener());
  });
  onLanguage(() => {
    document.documentElement.lang = TAGS[current];
    button.textContent = t("language.other");
    button.lang = TAGS[current === "en" ? "zh" : "en"];
    for (const element of document.querySelectorAll("[data-t]")) {
      element.textContent = t(element.dataset.t);
    }
    for (const element of document.querySelectorAll("[data-t-label]")) {
      element.setAttribute("aria-label", t(element.dataset.tLabel));
    }
  });
}

/** Return a number as the language writes it. */
export function number(value, options = {}) {
  return new Intl.NumberFormat(TAGS[current], options).format(value);
}

/** Return a file's size in the unit that suits it. */
export function fileSize(bytes) {
  const [unit, divisor] = bytes < 1e6 ? ["kilobyte", 1e3] : ["megabyte", 1e6];
  const digits = bytes < 1e6 ? 0 : 1;
  return number(bytes / divisor, {
    style: "unit",
    unit,
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

function preferred() {
  const first = navigator.languages.find((tag) => /^(en|zh)\b/i.test(tag)) ?? "en";
  return first.slice(0, 2).toLowerCase();
}
