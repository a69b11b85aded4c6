// Runs compiled kernels from a file and writes what they left in their buffers; the WebAssembly brother of loader.c.
//
// Usage: node loader.mjs IN OUT. IN holds cases of little-endian 64-bit words and padded bytes, as kernel_runner/mod.rs writes them.
// Between the buffers lie bytes that no kernel may change, and the last buffer ends with the memory, so that a stray access traps.
import { readFileSync, writeFileSync } from "node:fs";

const [input, output] = process.argv.slice(2);
const bytes = readFileSync(input);
const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
const PAGE = 65536;
const GAP = 4096;
const FILL = 0xa5;
const STACK = 1 << 19;
let at = 0;

function word() {
  const v = view.getBigUint64(at, true);
  at += 8;
  return v;
}

function take(n) {
  const piece = bytes.subarray(at, at + n);
  at += (n + 7) & ~7;
  return piece;
}

const results = [];
const cases = Number(word());
for (let i = 0; i < cases; i++) {
  const [codeBytes, bufferCount, slotCount, begin, end, entry] = Array.from({ length: 8 }, word).map(Number);
  if (entry !== 0) throw new Error(`case ${i}: only kernels run here`);
  const module = new WebAssembly.Module(take(codeBytes));
  const buffers = Array.from({ length: bufferCount }, () => take(Number(word())));
  const slots = Array.from({ length: slotCount }, () => [word(), word(), word()]);

  let size = STACK + GAP + slotCount * 8;
  for (const b of buffers) size += GAP + b.length;
  const pages = Math.ceil(size / PAGE) + 1;
  const memory = new WebAssembly.Memory({ initial: pages });
  const all = new Uint8Array(memory.buffer).fill(FILL);
  // From the end of the memory downwards; what follows the first is the end itself.
  const places = [];
  let top = all.length;
  for (const b of buffers) {
    top -= b.length;
    places.push(top);
    all.set(b, top);
    top -= GAP;
  }
  const args = STACK;
  const words = new DataView(memory.buffer);
  slots.forEach(([kind, value, offset], k) => {
    const v = kind === 1n ? BigInt(places[Number(value)]) + offset : value;
    words.setBigUint64(args + k * 8, BigInt.asUintN(64, v), true);
  });
  const before = all.slice(STACK);
  const base = new WebAssembly.Global({ value: "i32", mutable: false }, 0);
  const { kernel, stack_pointer } = new WebAssembly.Instance(module, { env: { memory, base } }).exports;
  stack_pointer.value = STACK;
  let status;
  try {
    status = kernel(args, begin, end);
  } catch (error) {
    throw new Error(`case ${i}: ${error.message}`);
  }
  if (stack_pointer.value !== STACK) throw new Error(`case ${i}: the stack pointer is ${stack_pointer.value}`);
  results.push(Buffer.alloc(8));
  results.at(-1).writeBigInt64LE(BigInt(status));
  for (const [k, b] of buffers.entries()) {
    const padded = Buffer.alloc((b.length + 7) & ~7);
    padded.set(all.subarray(places[k], places[k] + b.length));
    results.push(padded);
    all.set(before.subarray(places[k] - STACK, places[k] - STACK + b.length), places[k]);
  }
  if (Buffer.compare(Buffer.from(all.subarray(STACK)), Buffer.from(before)) !== 0) throw new Error(`case ${i}: memory outside of the buffers changed`);
}
writeFileSync(output, Buffer.concat(results));
