// Server-sent events read from a response's body. EventSource would do, but sends no token.

import { Failure } from "./failure.js";

/** Yield each event of a stream as {type, data}. A broken connection is a Failure. */
export async function* readEvents(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  // A line may hold a whole picture: its pieces are joined once, when it ends.
  let pieces = [];
  let event = newEvent();
  try {
    for (;;) {
      const { value, done } = await reader.read().catch(connectionBroke);
      if (done) return;
      const lines = value.split("\n");
      for (const end of lines.slice(0, -1)) {
        const line = [...pieces, end].join("").replace(/\r$/, "");
        pieces = [];
        if (line !== "") {
          takeLine(event, line);
        } else {
          if (event.data.length > 0) yield { type: event.type, data: event.data.join("\n") };
          event = newEvent();
        }
      }
      pieces.push(lines.at(-1));
    }
  } finally {
    // A stream that broke cannot be cancelled any more.
    await reader.cancel().catch(() => {});
  }
}

function newEvent() {
  return { type: "message", data: [] };
}

function takeLine(event, line) {
  const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);
  if (field === "event") event.type = value;
  if (field === "data") event.data.push(value);
}

function connectionBroke() {
  throw new Failure("network", { retryable: true });
}
