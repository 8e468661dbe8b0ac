// What is asked of the service: the event that is sent, and the same as a command.

import { dataUri } from "./photo.js";

/**
 * Return the event of a request.
 *
 * @param {{workflow: object, values: object, output: object, photos: object, files: object}} request
 *   Its photos and files by the name that the workflow gives them.
 */
export async function eventOf({ workflow, values, output, photos, files }) {
  const images = await inlined(photos);
  return {
    id: randomId(),
    input: {
      workflow: workflow.name,
      images,
      ...(Object.keys(files).length > 0 ? { files: await inlined(files) } : {}),
      params: values,
      output: { ...outputOf(output), delivery: "base64" },
    },
  };
}

async function inlined(chosen) {
  const sources = {};
  for (const [name, { blob }] of Object.entries(chosen)) sources[name] = await dataUri(blob);
  return sources;
}

/**
 * Return the command that sends a request with curl. Photos and files are read from files of their names.
 *
 * @param {string} address Where events are invoked.
 * @param {boolean} withToken Whether the service takes a token: from a variable, never in clear.
 */
export function curlCommand({ workflow, values, output, photos, files }, address, withToken) {
  const input = { workflow: workflow.name };
  if (Object.keys(values).length > 0) input.params = values;
  if (output.format !== "png") input.output = outputOf(output);
  // The photos come last, so that each one's base64 can take its place between quotes.
  const parts = [];
  let text = `{"input":${JSON.stringify(input).slice(0, -1)}`;
  for (const [table, chosen] of Object.entries({ images: photos, files })) {
    let opening = `,${JSON.stringify(table)}:{`;
    for (const [name, { name: file }] of Object.entries(chosen)) {
      parts.push(quoted(`${text}${opening}${JSON.stringify(name)}:"`));
      parts.push(`"$(base64 < ${quoted(file)} | tr -d '\\n')"`);
      [text, opening] = ['"', ","];
    }
    if (Object.keys(chosen).length > 0) text += "}";
  }
  parts.push(quoted(`${text}}}`));
  const token = withToken ? [`-H "Authorization: Bearer $API_TOKEN"`] : [];
  const curl = ["curl -sS", quoted(address), "-H 'Content-Type: application/json'", ...token];
  return `printf '%s' ${parts.join(" ")} |\n  ${[...curl, "--data-binary @-"].join(" ")}`;
}

function outputOf({ format, quality }) {
  const said = {};
  if (format !== "png") said.format = format;
  if (format !== "png" && quality !== undefined) said.quality = quality;
  return said;
}

function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
