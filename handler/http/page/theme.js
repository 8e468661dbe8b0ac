// Light or dark: as the system is, or as chosen. first-paint.js applies a choice of earlier.

import { remember } from "./memory.js";

const system = matchMedia("(prefers-color-scheme: dark)");
const root = document.documentElement;

export function setUpTheme(button) {
  const show = () => {
    const dark = isDark();
    root.toggleAttribute("data-dark", dark);
    button.setAttribute("aria-pressed", dark);
  };
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remember("theme", root.dataset.theme);
    show();
  });
  system.addEventListener("change", show);
  show();
}

function isDark() {
  return root.dataset.theme ? root.dataset.theme === "dark" : system.matches;
}
