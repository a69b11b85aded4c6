// A model with a loop that runs as often as its input says, and at most 1000 times: see tests/wasm_entries.rs. Usage: node limit.mjs MODULE LOADER THREADS
import { strict as assert } from "node:assert";
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [file, folder, threads] = process.argv.slice(2);
const { load } = await import(pathToFileURL(join(resolve(folder), "tflc.js")));
const model = await load(await readFile(file), { threads: Number(threads) });
const left = (n) => model.run({ x: Int32Array.of(n) }).left[0];

assert.equal(left(1000), 0);
assert.throws(() => left(1001), /a loop of the model ran longer than its limit/);
assert.throws(() => left(-1), /a loop of the model ran longer than its limit/);
// The model goes on.
assert.equal(left(3), 0);
model.close();
console.log("kept");
process.exit(0);
