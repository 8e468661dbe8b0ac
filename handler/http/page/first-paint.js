// Runs before the page is painted, so that a chosen theme does not flash in late.
try {
  const theme = localStorage.getItem("theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch (problem) {
  // Storage may be switched off; the system's theme then holds.
  if (!(problem instanceof DOMException)) throw problem;
}
