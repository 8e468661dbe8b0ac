// What the page remembers from visit to visit, where the browser lets it.

export function remembered(key) {
  return unlessRefused(() => localStorage.getItem(key));
}

export function remember(key, value) {
  unlessRefused(() => localStorage.setItem(key, value));
}

/** Remembered until the tab is closed. */
export function rememberedInTab(key) {
  return unlessRefused(() => sessionStorage.getItem(key));
}

export function rememberInTab(key, value) {
  unlessRefused(() => sessionStorage.setItem(key, value));
}

function unlessRefused(access) {
  try {
    return access();
  } catch (problem) {
    // Browsers throw this where storage is switched off or full: the page then forgets.
    if (problem instanceof DOMException) return null;
    throw problem;
  }
}
