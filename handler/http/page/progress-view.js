// Where the job is, in words and as a bar.

import { byId } from "./elements.js";
import { number, t } from "./language.js";

// Seconds are counted in tenths up to this.
const TENTHS_UP_TO = 60;

/**
 * Show a job's progress.
 *
 * @param {{phase: string, fraction: number, node: ?string, step: number, steps: number}} progress
 */
export function showProgress(progress) {
  const known = progress.phase === "run" && progress.fraction > 0;
  const full = progress.phase === "encode" || progress.phase === "store";
  const percent = full ? 100 : Math.round(100 * progress.fraction);
  byId("progress").hidden = false;
  byId("phase").textContent = t(`progress.${progress.phase}`);
  byId("node").textContent = nodeInWords(progress);
  const bar = byId("bar");
  if (known || full) bar.value = percent;
  else bar.removeAttribute("value");
  byId("percent").textContent = known || full ? t("progress.percent", { percent }) : "";
  return known || full ? percent : null;
}

export function showElapsed(milliseconds) {
  byId("elapsed").textContent = t("progress.elapsed", { seconds: seconds(milliseconds / 1000) });
}

export function hideProgress() {
  byId("progress").hidden = true;
}

/** Return seconds as they are read: tenths while they are few. */
export function seconds(value) {
  const digits = value < TENTHS_UP_TO ? 1 : 0;
  return number(value, { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function nodeInWords({ phase, node, step, steps }) {
  if (phase !== "run" || !node) return "";
  return steps > 1 ? t("progress.step", { node, step, steps }) : node;
}
