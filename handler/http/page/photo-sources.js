// Where a photo may come from: a picker, the camera, a drop anywhere on the page, the clipboard.

/** Call `take` with each file that is dropped or pasted; `zone` shows that it may be dropped. */
export function setUpDropAndPaste(zone, take) {
  let depth = 0;
  const show = (change) => {
    depth = Math.max(0, depth + change);
    zone.classList.toggle("is-dropping", depth > 0);
  };
  addEventListener("dragenter", (event) => hasFile(event.dataTransfer) && show(1));
  addEventListener("dragleave", (event) => hasFile(event.dataTransfer) && show(-1));
  addEventListener("dragover", (event) => {
    if (hasFile(event.dataTransfer)) event.preventDefault();
  });
  addEventListener("drop", (event) => {
    if (!hasFile(event.dataTransfer)) return;
    event.preventDefault();
    show(-depth);
    takeFirst(event.dataTransfer.files, take);
  });
  addEventListener("paste", (event) => takeFirst(event.clipboardData.files, take));
}

/** Make buttons open a file input, and call `take` with what was picked there. */
export function setUpPicker(input, buttons, take) {
  for (const button of buttons) button.addEventListener("click", () => input.click());
  input.addEventListener("change", async () => {
    await takeFirst(input.files, take);
    // So that the same file can be picked again.
    input.value = "";
  });
}

function hasFile(transfer) {
  return transfer?.types.includes("Files") ?? false;
}

async function takeFirst(files, take) {
  if (files.length > 0) await take(files[0]);
}
