// A failure, as the page shows it: a sentence, what to change, and what may be done about it.

import { hasText, t } from "./language.js";

/** Something that did not work. `code` is the service's, or one of the page's own. */
export class Failure extends Error {
  /**
   * @param {string} code
   * @param {object} [about]
   * @param {string} [about.message] The service's own words, in English.
   * @param {boolean} [about.retryable] Whether the same again may succeed.
   * @param {object} [about.details] Data of the service's.
   * @param {string} [about.job] The job's id.
   * @param {object} [about.values] What the page's own text has filled in.
   */
  constructor(code, { message, retryable = false, details = {}, job, values = {} } = {}) {
    super(message ?? code);
    Object.assign(this, { code, service: message, retryable, details, job, values });
  }

  /** One sentence, in the language in use. */
  get title() {
    const key = `error.${this.code}`;
    return t(hasText(key) ? key : "error.other", this.values);
  }

  /** What to change, and the language that it is written in where that is not the page's. */
  get advice() {
    if (this.service) return { text: this.service, lang: "en" };
    const key = `error.${this.code}.message`;
    return { text: hasText(key) ? t(key, this.values) : "", lang: null };
  }
}

/** Return the failure that a body of the service's reports. */
export function reportedFailure(body, status) {
  const error = body?.error;
  if (typeof error?.code !== "string") {
    return new Failure("protocol", { values: { status }, retryable: true });
  }
  return new Failure(error.code, {
    message: error.message,
    retryable: error.retryable,
    details: error.details ?? {},
    job: body.job_id || undefined,
  });
}
