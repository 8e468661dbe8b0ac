// One form field for each parameter, made from what the manifest says of it.

import { icon, make } from "./elements.js";
import { t } from "./language.js";
import { shareOf, stepOf, written } from "./numbers.js";

const RESET = "M4.5 9.5h9.200a5.6 5.6 0 1 1 0 11.200H9M8.5 5l-4.5 4.5 4.5 4.5";
const DICE =
  "M6.5 3.500h11a3 3 0 0 1 3 3v11a3 3 0 0 1-3 3h-11a3 3 0 0 1-3-3v-11a3 3 0 0 1 3-3ZM8.5 8.500v.01m7 0v.01m-3.5 3.500v.01m-3.5 3.500v.01m7 0v.01";
// Longer texts get several lines.
const SHORT_TEXT = 120;
// A default longer than this is not repeated in a button's name.
const MOST_OF_A_DEFAULT = 24;

/**
 * Make a field.
 *
 * @param {string} name The parameter's name.
 * @param {{type: string, label: string, description: string, step: number, schema: object}} about
 * @param {unknown} value What it shows; undefined for the default.
 * @param {(value: unknown) => void} onChange Called with each value; undefined for the default.
 * @returns {{element: HTMLElement, input: HTMLElement}}
 */
export function makeField(name, about, value, onChange) {
  const parts = new Parts(name, about, onChange);
  const input = MAKERS[about.type](parts, about, value ?? about.schema.default);
  return { element: parts.element, input };
}

const MAKERS = {
  number: makeNumber,
  integer: makeNumber,
  seed: makeSeed,
  boolean: makeSwitch,
  string: makeText,
  choice: makeChoice,
};

/** A field's common parts: its label, its description, what resets it, what is wrong with it. */
class Parts {
  constructor(name, about, onChange) {
    this.id = `parameter-${name}`;
    this.about = about;
    this.onChange = onChange;
    this.head = make(
      "div",
      { className: "field-head" },
      make("label", { for: this.id, id: `${this.id}-label` }, about.label),
    );
    this.help = make("p", { className: "fine", id: `${this.id}-help` }, about.description);
    this.problem = make("p", { className: "fine invalid", id: `${this.id}-problem`, role: "alert" });
    this.problem.hidden = true;
    this.element = make("div", { className: "field", "data-name": name }, this.head);
  }

  /** Attributes that tie an input to its description. */
  get described() {
    return { "aria-describedby": `${this.id}-help ${this.id}-problem` };
  }

  finish(...body) {
    this.element.append(...body, this.help, this.problem);
  }

  addReset(shownDefault, reset) {
    const name = this.about.label;
    const label =
      shownDefault.length > MOST_OF_A_DEFAULT
        ? t("field.resetLong", { name })
        : t("field.reset", { name, value: shownDefault });
    this.resetButton = make(
      "button",
      { type: "button", className: "reset", "aria-label": label, title: label },
      icon(RESET),
    );
    this.resetButton.addEventListener("click", () => {
      reset();
      this.element.querySelector(`#${CSS.escape(this.id)}`).focus();
    });
    this.head.append(this.resetButton);
  }

  /** Tell of a value; it may be the default. */
  changed(value) {
    this.showProblem("");
    const isDefault = value === this.about.schema.default;
    if (this.resetButton) this.resetButton.hidden = isDefault;
    this.onChange(isDefault ? undefined : value);
  }

  showProblem(text) {
    this.problem.textContent = text;
    this.problem.hidden = text === "";
    const input = this.element.querySelector(`#${CSS.escape(this.id)}`);
    input?.toggleAttribute("aria-invalid", false);
    if (text !== "") input?.setAttribute("aria-invalid", "true");
  }
}

function makeNumber(parts, about, value) {
  const { schema } = about;
  const step = stepOf(about);
  const bounds = { min: schema.minimum, max: schema.maximum };
  const slider = make("input", {
    type: "range",
    ...bounds,
    step,
    id: `${parts.id}-slider`,
    "aria-labelledby": `${parts.id}-label`,
    ...parts.described,
  });
  const entry = make("input", {
    type: "number",
    ...bounds,
    step: "any",
    id: parts.id,
    className: "number",
    inputmode: schema.type === "integer" ? "numeric" : "decimal",
    ...parts.described,
  });
  const fill = (shown) =>
    slider.style.setProperty("--fill", `${(100 * shareOf(shown, schema)).toFixed(1)}%`);
  const set = (next) => {
    entry.value = written(next, step);
    slider.value = next;
    fill(next);
    parts.changed(next);
  };
  slider.addEventListener("input", () => {
    // A slider counts its steps from the minimum; what it gives may have a rounding error.
    set(Number(written(slider.valueAsNumber, step)));
  });
  entry.addEventListener("input", () => {
    const typed = entry.valueAsNumber;
    const whole = schema.type !== "integer" || Number.isInteger(typed);
    if (!(typed >= schema.minimum && typed <= schema.maximum && whole)) {
      const key = schema.type === "integer" ? "field.whole" : "field.range";
      parts.showProblem(t(key, { minimum: schema.minimum, maximum: schema.maximum }));
      return;
    }
    slider.value = typed;
    fill(typed);
    parts.changed(typed);
  });
  parts.addReset(written(schema.default, step), () => set(schema.default));
  parts.head.append(entry);
  parts.finish(slider);
  set(value);
  return entry;
}

function makeSeed(parts, about, value) {
  // What JSON keeps exact; the service draws its seeds from there too.
  const maximum = Math.min(about.schema.maximum, Number.MAX_SAFE_INTEGER);
  const entry = make("input", {
    type: "text",
    inputmode: "numeric",
    id: parts.id,
    autocomplete: "off",
    placeholder: t("field.seedHint"),
    ...parts.described,
  });
  const read = () => {
    const typed = entry.value.trim();
    const seed = Number(typed);
    if (typed === "") parts.changed(undefined);
    else if (/^\d+$/.test(typed) && seed <= maximum) parts.changed(seed);
    else parts.showProblem(t("field.whole", { minimum: 0, maximum }));
  };
  const roll = make(
    "button",
    { type: "button", className: "secondary", "aria-label": t("field.roll"), title: t("field.roll") },
    icon(DICE),
  );
  roll.addEventListener("click", () => {
    const [high, low] = crypto.getRandomValues(new Uint32Array(2));
    entry.value = String((high >>> 11) * 2 ** 32 + low);
    roll.classList.remove("rolled");
    // Read for its effect: the animation starts anew only after a layout without the class.
    void roll.offsetWidth;
    roll.classList.add("rolled");
    read();
  });
  entry.addEventListener("input", read);
  parts.addReset(t("field.seedHint"), () => {
    entry.value = "";
    read();
  });
  parts.finish(make("div", { className: "seed" }, entry, roll));
  entry.value = value ?? "";
  read();
  return entry;
}

function makeSwitch(parts, about, value) {
  const box = make("input", {
    type: "checkbox",
    role: "switch",
    className: "switch",
    id: parts.id,
    ...parts.described,
  });
  box.addEventListener("change", () => parts.changed(box.checked));
  parts.addReset(t(about.schema.default ? "field.on" : "field.off"), () => {
    box.checked = about.schema.default;
    parts.changed(box.checked);
  });
  parts.head.append(box);
  parts.finish();
  box.checked = value;
  parts.changed(value);
  return box;
}

function makeText(parts, about, value) {
  const long = (about.schema.maxLength ?? Infinity) > SHORT_TEXT;
  const entry = make(long ? "textarea" : "input", {
    className: "text",
    id: parts.id,
    ...(long ? {} : { type: "text" }),
    ...(about.schema.maxLength ? { maxlength: about.schema.maxLength } : {}),
    ...parts.described,
  });
  entry.addEventListener("input", () => parts.changed(entry.value));
  parts.addReset(`“${about.schema.default}”`, () => {
    entry.value = about.schema.default;
    parts.changed(entry.value);
  });
  parts.finish(entry);
  entry.value = value;
  parts.changed(value);
  return entry;
}

function makeChoice(parts, about, value) {
  const options = about.schema.enum.map((choice) =>
    make("option", { value: choice }, about.choiceLabels?.[choice] ?? choice),
  );
  const select = make("select", { id: parts.id, ...parts.described }, ...options);
  select.addEventListener("change", () => parts.changed(select.value));
  parts.addReset(about.schema.default, () => {
    select.value = about.schema.default;
    parts.changed(select.value);
  });
  parts.finish(select);
  select.value = value;
  parts.changed(value);
  return select;
}
