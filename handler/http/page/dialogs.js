// The two dialogs: the command for a terminal, and the service's token.

import { byId } from "./elements.js";
import { t } from "./language.js";

/** Show a command, and copy it at once where the browser lets the page. */
export function showCommand(command, hint) {
  byId("curl-command").textContent = command;
  byId("curl-hint").textContent = hint;
  byId("curl-copied").textContent = "";
  byId("curl-copy").onclick = () => copy(command);
  byId("curl-dialog").showModal();
  byId("curl-copy").focus();
  copy(command);
}

/** Ask for the token; return null where the user would rather not. */
export function askToken(refused) {
  const dialog = byId("token-dialog");
  const entry = byId("token");
  byId("token-text").textContent = t(refused ? "token.wrong" : "token.text");
  entry.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  entry.focus();
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => resolve(dialog.returnValue === "send" ? entry.value.trim() : null),
      { once: true },
    );
  });
}

async function copy(text) {
  const said = byId("curl-copied");
  try {
    // The clipboard is there on secure addresses only.
    await navigator.clipboard?.writeText(text);
    said.textContent = t(navigator.clipboard ? "curl.copied" : "curl.select");
  } catch (problem) {
    if (!(problem instanceof DOMException)) throw problem;
    said.textContent = t("curl.select");
  }
  if (said.textContent === t("curl.select")) getSelection().selectAllChildren(byId("curl-command"));
}
