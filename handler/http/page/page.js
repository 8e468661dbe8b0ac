// The page: what is chosen, what runs, what came of it, and the order of the steps between them.

import { askToken, showCommand } from "./dialogs.js";
import { byId, make } from "./elements.js";
import { extraImageNames, mainImageName, showExtraImages } from "./extra-images.js";
import { missingFileName, readFile, showExtraFiles } from "./extra-files.js";
import { Failure } from "./failure.js";
import { focusFailure, hideFailure, showFailure } from "./failure-view.js";
import { fileSize, onLanguage, setUpLanguage, t } from "./language.js";
import { remember, remembered } from "./memory.js";
import { readPhoto, release } from "./photo.js";
import { setUpDropAndPaste, setUpPicker } from "./photo-sources.js";
import * as picture from "./picture.js";
import { hideProgress, showElapsed, showProgress } from "./progress-view.js";
import { curlCommand, eventOf } from "./request.js";
import { resultsOf, showCaption, showMedia, showStrip } from "./results.js";
import * as service from "./service.js";
import { firstInvalidField, parameterInput, showSettings } from "./settings-form.js";
import { setUpTheme } from "./theme.js";
import { imageLabel, parameterInWords } from "./workflow-words.js";
import { showWorkflows } from "./workflow-list.js";

const TITLE = document.title;
const BOOT_POLL_MS = 2000;
const ELAPSED_MS = 100;
const MOST_RESULTS = 24;

const state = {
  workflows: [],
  limits: { bytes: Infinity, pixels: Infinity, fileBytes: Infinity },
  loaded: false,
  booting: false,
  workflow: null,
  values: {}, // of each workflow by name: its parameters that are not at their default
  output: { format: "png", quality: undefined },
  photo: null,
  extra: {}, // further pictures, by name
  files: {}, // videos, sounds and other files, by name
  job: null,
  results: [],
  shown: null, // the one of the results that is on the stage
  failure: null,
  retry: null,
};

// Loading

async function load() {
  forget();
  try {
    const { workflows, limits } = await service.listWorkflows();
    if (limits) {
      const { image_bytes: bytes, image_pixels: pixels, file_bytes: fileBytes } = limits;
      state.limits = { bytes, pixels, fileBytes };
    }
    // Those that can run come first; otherwise the service's order stays.
    state.workflows = workflows.toSorted((one, other) => other.runnable - one.runnable);
    state.loaded = true;
    const wanted = workflows.find(({ name }) => name === remembered("workflow"));
    state.workflow = (wanted?.runnable ? wanted : state.workflows[0]) ?? null;
    renderPanel();
    await waitForBoot();
  } catch (problem) {
    fail(problem, load);
  }
  render();
}

async function waitForBoot() {
  state.booting = (await service.stage()) === "booting";
  render();
  if (state.booting) setTimeout(() => waitForBoot().catch((problem) => fail(problem, load)), BOOT_POLL_MS);
}

// Choosing

function chooseWorkflow(name) {
  state.workflow = state.workflows.find((workflow) => workflow.name === name);
  remember("workflow", name);
  forget();
  renderPanel();
  render();
}

async function takePhoto(file) {
  if (state.job) return;
  forget();
  try {
    const photo = await readPhoto(file, state.limits);
    releaseUnused(state.photo);
    state.photo = photo;
    state.shown = null;
    announce(t("photo.ready", { name: photo.name }));
  } catch (problem) {
    fail(problem, null);
  }
  render();
  scrollToStage();
  if (state.failure) byId("failure").scrollIntoView({ block: "nearest" });
}

async function takeExtra(name, file) {
  forget();
  try {
    const photo = file && (await readPhoto(file, state.limits));
    releaseUnused(state.extra[name]);
    if (photo) state.extra[name] = photo;
    else delete state.extra[name];
  } catch (problem) {
    fail(problem, null);
  }
  renderPanel();
  render();
}

function takeFile(name, file) {
  forget();
  try {
    if (file) state.files[name] = readFile(file, state.limits);
    else delete state.files[name];
  } catch (problem) {
    fail(problem, null);
  }
  renderPanel();
  render();
}

async function takeSample() {
  try {
    await takePhoto(await service.pageFile("lake.jpg"));
  } catch (problem) {
    fail(problem, takeSample);
    render();
  }
  byId("run").focus({ preventScroll: true });
}

function releaseUnused(photo) {
  const used = state.results.some(({ request }) => Object.values(request.photos).includes(photo));
  if (!used) release(photo);
}

// Running

/** Return what keeps the workflow from running, in words, or null. */
function obstacle() {
  const { workflow } = state;
  if (!workflow.runnable) return t("run.unavailable");
  const main = mainImageName(workflow);
  if (main && workflow.images[main].required && !state.photo) return t("run.needsPhoto");
  const missing = extraImageNames(workflow).find(
    (name) => workflow.images[name].required && !state.extra[name],
  );
  if (missing) return t("run.needsImage", { name: imageLabel(missing) });
  const file = missingFileName(workflow, state.files);
  return file ? t("run.needsFile", { name: imageLabel(file) }) : null;
}

function requestNow() {
  const { workflow, photo, output } = state;
  const main = mainImageName(workflow);
  const photos = main && photo ? { [main]: photo } : {};
  for (const name of extraImageNames(workflow)) {
    if (state.extra[name]) photos[name] = state.extra[name];
  }
  const files = {};
  for (const name of Object.keys(workflow.files)) {
    if (state.files[name]) files[name] = state.files[name];
  }
  const values = { ...valuesOf(workflow) };
  return { workflow, values, output: { ...output }, photo: main ? photo : null, photos, files };
}

async function run() {
  const invalid = firstInvalidField();
  if (invalid) invalid.focus();
  if (invalid || state.job || !state.workflow || obstacle() !== null) return;
  forget();
  const byKeyboard = byId("run") === document.activeElement || byId("failure").contains(document.activeElement);
  const request = requestNow();
  const job = { request, progress: null, cancelling: false, abort: new AbortController() };
  state.job = job;
  state.shown = null;
  const clock = startClock();
  announce(t("progress.started"));
  render();
  if (byKeyboard) byId("cancel").focus({ preventScroll: true });
  scrollToStage();
  try {
    const event = await eventOf(request);
    job.id = event.id;
    await service.submit(event, job.abort.signal);
    job.progress = { phase: "queued", fraction: 0 };
    renderProgress();
    const success = await service.follow(job.id, (progress) => onProgress(job, progress));
    take(resultsOf(success, request));
  } catch (problem) {
    if (problem instanceof Failure && problem.code === "cancelled") announce(t("progress.cancelled"));
    else fail(problem, run);
  } finally {
    clearInterval(clock);
    const focused = byId("cancel") === document.activeElement;
    state.job = null;
    render();
    if (focused) moveFocusOn();
    if (state.failure) byId("failure").scrollIntoView({ block: "nearest" });
  }
}

function onProgress(job, progress) {
  job.progress = progress ?? { ...job.progress, phase: "reconnecting" };
  renderProgress();
  if (progress?.phase === "run") picture.advanceWork(progress.fraction, progress.preview);
  if (progress?.phase === "store") picture.advanceWork(1);
}

async function cancel() {
  const { job } = state;
  if (!job || job.cancelling) return;
  job.cancelling = true;
  renderProgress();
  job.abort.abort();
  try {
    if (job.id) await service.cancel(job.id);
  } catch (problem) {
    // The job may not have reached the service, or may have ended: then there is nothing to stop.
    if (!(problem instanceof Failure)) throw problem;
    job.cancelling = problem.code === "unknown_job";
    renderProgress();
  }
}

function take(results) {
  state.results.push(...results);
  for (const old of state.results.splice(0, Math.max(0, state.results.length - MOST_RESULTS))) {
    for (const { url } of [old, ...old.others]) if (url !== null) URL.revokeObjectURL(url);
  }
  [state.shown] = results;
  state.fresh = true;
  announce(t("result.ready"));
}

/** Show a result of before, with the settings that it was made with. */
function goBackTo(result) {
  const { request } = result;
  if (state.job) return;
  forget();
  state.shown = result;
  state.workflow = request.workflow;
  state.values[request.workflow.name] = { ...request.values };
  state.output = { ...request.output };
  if (request.photo) state.photo = request.photo;
  renderPanel();
  render();
}

function moveFocusOn() {
  if (state.failure && focusFailure()) return;
  if (state.shown?.url && state.shown.photo) picture.focusDivider();
  else byId("run").focus();
}

// Showing

/** Show everything but the panel, whose fields keep what is typed and where the keyboard is. */
function render() {
  renderStage();
  renderWords();
}

function renderStage() {
  const { job, shown, photo } = state;
  const needsPhoto = !state.workflow || mainImageName(state.workflow) !== null;
  const main = job ? job.request.photo : photo;
  const empty = !(needsPhoto && main) && !shown?.url;
  document.body.dataset.state = empty ? "empty" : job ? "working" : shown ? "done" : "ready";
  byId("empty").hidden = !(empty && needsPhoto);
  byId("no-photo-needed").hidden = !(empty && !needsPhoto) || shown !== null;
  if (empty) picture.hidePicture();
  else if (job) picture.showWork(main);
  else if (shown?.url) picture.showResult(shown, state.fresh);
  else picture.showPhoto(photo);
  state.fresh = false;
}

function renderPanel() {
  const { workflow } = state;
  showWorkflows(state.workflows, workflow?.name, chooseWorkflow);
  byId("settings").hidden = workflow === null;
  if (workflow === null) return;
  showSettings(workflow, valuesOf(workflow), state.output);
  showExtraImages(workflow, state.extra, takeExtra);
  showExtraFiles(workflow, state.files, takeFile);
}

function renderWords() {
  renderProgress();
  renderFailure();
  renderCaptions();
  const { workflow, job, shown } = state;
  const notice = byId("notice");
  const none = state.loaded && state.workflows.length === 0;
  notice.hidden = !(none || state.booting);
  if (none) notice.textContent = t("panel.noWorkflow");
  else if (state.booting) notice.textContent = t("panel.starting");
  const button = byId("run");
  const problem = workflow ? obstacle() : "";
  button.parentElement.hidden = workflow === null;
  button.textContent = t(shown ? "run.again" : "run.start");
  button.setAttribute("aria-disabled", problem !== null);
  button.hidden = job !== null;
  byId("cancel").hidden = job === null;
  byId("run-hint").textContent = job ? "" : (problem ?? "");
}

function renderProgress() {
  const { job } = state;
  document.title = TITLE;
  if (!job) {
    hideProgress();
    return;
  }
  const progress = job.progress ?? { phase: "sending", fraction: 0 };
  const percent = showProgress(job.cancelling ? { ...progress, phase: "cancelling" } : progress);
  byId("cancel").setAttribute("aria-disabled", job.cancelling);
  if (percent !== null) document.title = `${t("progress.percent", { percent })} · ${TITLE}`;
}

function renderFailure() {
  if (!state.failure) {
    hideFailure();
    return;
  }
  showFailure(state.failure, {
    retry: state.retry,
    choosePhoto: () => byId("file").click(),
    goTo: (name) => {
      if (!state.workflow?.parameters[name]) return null;
      const { label } = parameterInWords(state.workflow, name);
      return { label, go: () => parameterInput(name)?.focus() };
    },
  });
}

function renderCaptions() {
  const { job, shown, photo, workflow } = state;
  const takesPhoto = workflow === null || mainImageName(workflow) !== null;
  byId("photo-caption").hidden = !(photo && takesPhoto && !job && !shown);
  if (photo) {
    const size = { width: photo.width, height: photo.height };
    const words = photo.shrunk ? t("photo.shrunk", size) : t("photo.size", size);
    const name = make("span", { className: "file-name" }, photo.name);
    const facts = [words, fileSize(photo.blob.size)].map((fact) => make("span", {}, fact));
    byId("photo-facts").replaceChildren(name, ...facts);
  }
  byId("result-caption").hidden = true;
  if (shown && !job) showCaption(shown, keepSeedOf(shown));
  showMedia(job ? null : shown);
  byId("change-after").hidden = !takesPhoto;
  showStrip(state.results, shown, goBackTo);
  byId("strip").inert = job !== null;
}

/** Return what puts a result's seed into its field, or null where it is there or has no field. */
function keepSeedOf({ seed, request: { workflow } }) {
  if (seed === null || workflow !== state.workflow) return null;
  const name = Object.keys(workflow.parameters).find(
    (each) => workflow.parameters[each].type === "seed",
  );
  if (!name || valuesOf(workflow)[name] === seed) return null;
  return () => {
    valuesOf(workflow)[name] = seed;
    renderPanel();
    renderCaptions();
    parameterInput(name).focus();
  };
}

function copyAsCurl() {
  const { request, seed } = state.shown;
  const seedName = Object.keys(request.workflow.parameters).find(
    (name) => request.workflow.parameters[name].type === "seed",
  );
  const values = seed === null || !seedName ? request.values : { ...request.values, [seedName]: seed };
  const address = service.address("v1/invoke");
  const command = curlCommand({ ...request, values }, address, service.usesToken());
  const chosen = [...Object.values(request.photos), ...Object.values(request.files)];
  const files = [...new Set(chosen.map(({ name }) => name))];
  const hint = files.length > 0 ? t("curl.hint", { files: files.join(", ") }) : t("curl.hintNoPhoto");
  showCommand(command, service.usesToken() ? `${hint} ${t("curl.token")}` : hint);
}

// Small things

function valuesOf(workflow) {
  return (state.values[workflow.name] ??= {});
}

/** Keep a failure to show; what is no failure is a defect of the page, for its console. */
function fail(problem, retry) {
  if (!(problem instanceof Failure)) throw problem;
  state.failure = problem;
  state.retry = retry;
}

function forget() {
  state.failure = null;
  state.retry = null;
}

function announce(text) {
  byId("announcer").textContent = text;
}

function startClock() {
  const started = performance.now();
  showElapsed(0);
  return setInterval(() => showElapsed(performance.now() - started), ELAPSED_MS);
}

function scrollToStage() {
  const { top } = byId("canvas").getBoundingClientRect();
  if (top < 0) byId("canvas").scrollIntoView({ block: "start" });
}

service.onTokenNeeded(askToken);
setUpTheme(byId("theme"));
setUpLanguage(byId("language"));
picture.setUpPicture();
setUpDropAndPaste(byId("canvas"), takePhoto);
setUpPicker(byId("file"), ["choose", "change", "change-after"].map(byId), takePhoto);
setUpPicker(byId("camera"), ["take", "retake"].map(byId), takePhoto);
byId("sample").addEventListener("click", takeSample);
byId("cancel").addEventListener("click", cancel);
byId("curl").addEventListener("click", copyAsCurl);
byId("panel").addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
onLanguage(() => {
  renderPanel();
  renderWords();
});
load();
