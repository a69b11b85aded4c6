// What a module with several signatures and a custom operator promises: see tests/wasm_entries.rs. Usage: node entries.mjs MODULE LOADER THREADS
import { strict as assert } from "node:assert";
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [file, folder, threads] = process.argv.slice(2);
const { load } = await import(pathToFileURL(join(resolve(folder), "tflc.js")));
const source = await readFile(file);

const calls = [];
const my_twice = ({ inputs: [x], outputs: [y], options }) => {
  calls.push([[...x.shape], [...y.shape], [...options]]);
  if (x.data[0] < 0) throw new RangeError("a negative amount");
  x.data.forEach((v, i) => (y.data[i] = options[0] * v));
};
const options = { customs: { my_twice }, threads: Number(threads) };

await assert.rejects(load(source, { threads: 1 }), /Twice.*my_twice/);
const model = await load(source, options);

// The primary entry point, by the tensors' names and by those of its signature.
const amount = Float32Array.of(1, 2, 0.5);
assert.deepEqual(model.run({ x: amount }), { sum: Float32Array.of(2, 4, 1) });
assert.deepEqual(calls, [[[3], [3], [2, 3]]]);
const add = model.signature("add more");
assert.equal(add.key, "add more");
assert.deepEqual(add.inputs.map((t) => t.name), ["amount"]);
assert.deepEqual(add.run({ amount }), { total: Float32Array.of(4, 8, 2) });

// The other one has its own inputs and outputs, and sees the same variable.
const places = model.signature("places");
assert.deepEqual(places.outputs.map((t) => t.name), ["at", "now"]);
const found = places.run({ mask: Uint8Array.of(0, 1, 0, 1) });
assert.deepEqual(found, { at: BigInt64Array.of(1n, 3n), now: Float32Array.of(4, 8, 2) });
assert.deepEqual(places.outputShape("at"), [2, 1]);
assert.deepEqual(places.run([Uint8Array.of(1, 1, 0, 1)]).at, BigInt64Array.of(0n, 1n, 3n));
assert.throws(() => places.run({ amount }), RangeError);
assert.throws(() => model.signature("place"), /"place".*add more, places/);

// What a function throws is thrown by the run, and the model goes on.
assert.throws(() => add.run({ amount: Float32Array.of(-1, 0, 0) }), /a negative amount/);
assert.deepEqual(add.run(amount), { total: Float32Array.of(6, 12, 3) });

// Instances share nothing but code and functions; a reset is one for all entry points.
const other = model.instance();
assert.deepEqual(other.signature("places").run([Uint8Array.of(0, 0, 0, 0)]), { at: new BigInt64Array(0), now: new Float32Array(3) });
model.reset();
assert.deepEqual(add.run(amount), { total: Float32Array.of(2, 4, 1) });
model.close();
console.log("kept");
process.exit(0);
