// Numbers in fields and their sliders.

/** Return a slider's step: the manifest's, or about a hundredth of the range. */
export function stepOf({ step, schema }) {
  if (schema.type === "integer") return 1;
  if (step) return step;
  const share = (schema.maximum - schema.minimum) / 100;
  const power = 10 ** Math.floor(Math.log10(share));
  return [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= share * 0.999);
}

/** Write a number with the digits that its step has. */
export function written(value, step) {
  const digits = Math.min(12, Math.max(0, -Math.floor(Math.log10(step) + 1e-9) + 1));
  return String(Number(value.toFixed(digits)));
}

/** Return the share of the range below a value, 0 to 1. */
export function shareOf(value, { minimum, maximum }) {
  return maximum > minimum ? (value - minimum) / (maximum - minimum) : 0;
}
