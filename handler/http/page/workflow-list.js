// The choice of a workflow.

import { byId, make } from "./elements.js";
import { t } from "./language.js";
import { descriptionOf, licenseNoteOf, titleOf } from "./workflow-words.js";

/** Show the workflows, one of them chosen; call `choose` with the name of another. */
export function showWorkflows(workflows, chosen, choose) {
  const list = byId("workflow-list");
  const focused = list.contains(document.activeElement);
  list.replaceChildren(...workflows.map((workflow) => card(workflow, chosen, choose)));
  byId("workflows").hidden = workflows.length === 0;
  showProblems(workflows.find(({ name }) => name === chosen)?.problems ?? []);
  if (focused) list.querySelector(":checked")?.focus();
}

function card(workflow, chosen, choose) {
  const id = `workflow-${workflow.name}`;
  const radio = make("input", {
    type: "radio",
    name: "workflow",
    value: workflow.name,
    id,
    "aria-describedby": `${id}-about`,
  });
  radio.checked = workflow.name === chosen;
  radio.addEventListener("change", () => choose(workflow.name));
  const title = make("strong", {}, titleOf(workflow));
  const heading = make("span", {}, title);
  if (!workflow.runnable) {
    heading.append(make("span", { className: "badge" }, t("workflow.unavailable")));
  }
  const about = make("div", { id: `${id}-about` });
  const element = make("label", { className: "workflow", for: id }, radio, heading);
  about.append(make("p", { className: "fine" }, descriptionOf(workflow)));
  const license = licenseNoteOf(workflow);
  if (radio.checked && license) about.append(make("p", { className: "fine license" }, license));
  element.append(about);
  return element;
}

/** Show what keeps the chosen workflow from running, folded: it may be a long list. */
function showProblems(problems) {
  const box = byId("problems");
  box.hidden = problems.length === 0;
  byId("problems-summary").textContent = t("workflow.problems", { count: problems.length });
  const items = problems.map((problem) => make("li", { className: "fine", lang: "en" }, problem));
  byId("problems-list").replaceChildren(...items);
}
