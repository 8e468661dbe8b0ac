// The service's HTTP interface, below the address that the page itself has.

import { readEvents } from "./event-stream.js";
import { Failure, reportedFailure } from "./failure.js";
import { rememberedInTab, rememberInTab } from "./memory.js";

const RECONNECT_MS = 1000;
const MOST_RECONNECTS = 20;
const PASSING = new Set(["network", "protocol"]);
let askForToken = async () => null;
// Kept here too: where the browser refuses storage, the token still holds for this page.
let tokenInUse = rememberedInTab("token");

/** Set what asks the user for the token: told whether an earlier one was refused. */
export function onTokenNeeded(ask) {
  askForToken = ask;
}

/** Whether the service has asked for a token. */
export function usesToken() {
  return tokenInUse !== null;
}

/** Return the absolute address of a path of the service. */
export function address(path) {
  return new URL(path, document.baseURI).href;
}

/** Return one of the page's own files. */
export async function pageFile(name) {
  const blob = await (await send(`page/${name}`)).blob();
  return new File([blob], name, { type: blob.type });
}

/** Return the installed workflows, and the limits of the photos that they take. */
export async function listWorkflows() {
  return (await send("v1/workflows")).json();
}

/** Return the stage of the service's life: "booting", "running", "broken" or "stopping". */
export async function stage() {
  const response = await send("health");
  return (await response.json()).stage;
}

/** Submit an event. */
export async function submit(event, signal) {
  await send("v1/jobs", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(event),
    signal,
  });
}

/** Ask for a job to stop; its stream of events says when it has. */
export async function cancel(job) {
  await send(`v1/jobs/${encodeURIComponent(job)}`, { method: "DELETE" });
}

/**
 * Follow a job to its end and return the success that it ended in.
 *
 * @param {(progress: object) => void} onProgress Called with each progress, null on reconnecting.
 */
export async function follow(job, onProgress) {
  for (let reconnects = 0; ; reconnects += 1) {
    try {
      const response = await send(`v1/jobs/${encodeURIComponent(job)}/events`);
      const ended = await untilDone(response, onProgress, () => (reconnects = 0));
      if (ended) return successOf(ended);
    } catch (problem) {
      const passing = problem instanceof Failure && PASSING.has(problem.code);
      if (!passing) throw lostJob(problem);
      if (reconnects >= MOST_RECONNECTS) throw problem;
    }
    onProgress(null);
    await new Promise((resolve) => setTimeout(resolve, RECONNECT_MS));
  }
}

async function untilDone(response, onProgress, onEvent) {
  for await (const { type, data } of readEvents(response.body)) {
    onEvent();
    if (type === "progress") onProgress(JSON.parse(data));
    if (type === "done") return JSON.parse(data);
  }
  return null;
}

function successOf(response) {
  if (response.status !== "succeeded") throw reportedFailure(response, 200);
  return response;
}

function lostJob(problem) {
  return problem.code === "unknown_job" ? new Failure("lost", { retryable: true }) : problem;
}

async function send(path, options = {}) {
  const url = address(path);
  for (let refused = usesToken(); ; refused = true) {
    const response = await reach(url, options);
    if (response.ok) return response;
    if (response.status !== 401) throw reportedFailure(await bodyOf(response), response.status);
    const token = await askForToken(refused);
    if (token === null) throw reportedFailure(await bodyOf(response), response.status);
    rememberInTab("token", token);
    tokenInUse = token;
  }
}

async function reach(url, options) {
  const headers = { ...options.headers };
  if (tokenInUse !== null) headers.Authorization = `Bearer ${tokenInUse}`;
  try {
    return await fetch(url, { ...options, headers });
  } catch (problem) {
    if (problem instanceof DOMException && problem.name === "AbortError") {
      throw new Failure("cancelled");
    }
    throw new Failure("network", { retryable: true });
  }
}

async function bodyOf(response) {
  try {
    return await response.json();
  } catch (problem) {
    // No JSON: something else than the service answered.
    if (problem instanceof SyntaxError) return null;
    throw problem;
  }
}
