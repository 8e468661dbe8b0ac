// The unmodified TypeScript SDK: a picture in, a picture out, and all that clients do around it.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { Comfy, JobFailed, MissingAsset, NotFound } from "@comfyorg/sdk";

const [photo, graphFile, stepsFile, out] = process.argv.slice(2);
const client = new Comfy({ apiKey: process.env.TEST_API_KEY });

const bytes = new Uint8Array(await readFile(photo));
const asset = client.assets.fromFile(photo);
await asset.commit();
const again = client.assets.fromBytes(bytes, { filename: "again.png" });
await again.commit();
assert.equal(await again.hash(), await asset.hash());
assert.equal((await client.assets.get(asset.id)).filePath, "photo.png");
assert.equal((await again.asReference()).info.id, again.id);
await again.delete();
await assert.rejects(client.assets.get("9f8a1c0d-2b3e-4f56-8a7b-1c2d3e4f5a6b"), NotFound);

const workflow = await client.workflows.fromFile(graphFile);
await assert.rejects(
  client.run(client.workflows.fromString(JSON.stringify(workflow.json).replace("photo.png", "none.png"))),
  MissingAsset,
);
workflow.setInput("1", "image", asset);
const job = await client.run(workflow);
const [output] = job.getOutputs("3");
const made = await output.toBytes();
assert.equal(made.length, output.sizeBytes);
await output.toFile(out);
assert.ok((await output.getDownloadUrl()).url.endsWith("/content"));
assert.equal((await job.getWorkflow()).format, "api");

const steps = JSON.parse(await readFile(stepsFile, "utf8"));
const followed = await client.submit(client.workflows.fromJson(steps));
const kinds = new Set();
for await (const event of followed.events()) kinds.add(event.type ?? event.kind ?? event.constructor.name);
assert.ok(kinds.size >= 3, [...kinds].join());
assert.equal((await followed.wait()).status, "succeeded");

steps["2"].inputs.steps = 1000;
const endless = await client.submit(client.workflows.fromJson(steps));
while ((await endless.refresh()).status !== "running");
await endless.cancel();
assert.equal((await endless.wait(20000)).status, "canceled");
await assert.rejects(endless.result(), JobFailed);
assert.equal((await client.jobs.get(job.id)).outputs[0].id, output.id);
console.log("done");
