// A fork-join pool of workers for modules with shared memory: both the pool and the worker's side of it.
//
// The caller's thread takes tasks too, so that a call never waits for a worker that has not started. Workers sleep in Atomics.wait between calls.
// The caller never sleeps: a browser's main thread must not.

// Words of the control block.
const GENERATION = 0; // grows by two with each call; odd while the next one is being written
const NEXT = 1; // next task
const COUNT = 2; // tasks of the call
const DONE = 3; // tasks done
const KERNEL = 4;
const CONTEXT = 5;
const STOP = 6;
const READY = 7; // workers inside the loop
const BUSY = 8; // workers that may still look for tasks of this call
const WORDS = 9;

function takeTasks(control, task) {
  const kernel = Atomics.load(control, KERNEL);
  const context = Atomics.load(control, CONTEXT);
  const count = Atomics.load(control, COUNT);
  for (;;) {
    const i = Atomics.add(control, NEXT, 1);
    if (i >= count) return;
    task(kernel, context, i);
    Atomics.add(control, DONE, 1);
  }
}

/** What a worker does from its start on. */
function work({ module, memory, base, stack, control }) {
  const never = () => {
    throw new Error("a task started another call");
  };
  const env = { memory, base: new WebAssembly.Global({ value: "i32", mutable: false }, base), run: never };
  // Functions of custom operators run on the thread that started the run.
  const custom = Object.fromEntries(WebAssembly.Module.imports(module).filter((i) => i.module === "custom").map((i) => [i.name, never]));
  const { task, stack_pointer } = new WebAssembly.Instance(module, { env, custom }).exports;
  stack_pointer.value = stack;
  let seen = Atomics.load(control, GENERATION);
  Atomics.add(control, READY, 1);
  for (;;) {
    const known = Atomics.load(control, GENERATION);
    if (known === seen || known % 2 !== 0) Atomics.wait(control, GENERATION, known);
    if (Atomics.load(control, STOP)) return;
    // Whoever says so here and then finds an even generation is waited for, so that the next call does not change what this one reads.
    Atomics.add(control, BUSY, 1);
    const now = Atomics.load(control, GENERATION);
    if (now !== seen && now % 2 === 0) {
      seen = now;
      takeTasks(control, task);
    }
    Atomics.sub(control, BUSY, 1);
  }
}

export class Pool {
  #workers;
  #control;
  #task;

  static async start(count, { module, memory, base, stackBytes, task }) {
    const pool = new Pool();
    pool.#task = task;
    pool.#control = new Int32Array(new SharedArrayBuffer(WORDS * 4));
    // Stacks at the end of the memory, one for each worker.
    const pages = Math.ceil((count * stackBytes) / 65536);
    const first = memory.grow(pages) * 65536;
    pool.#workers = await Promise.all(
      Array.from({ length: count }, (_, i) => startWorker({ module, memory, base, stack: first + (i + 1) * stackBytes, control: pool.#control })),
    );
    return pool;
  }

  run(kernel, context, count) {
    const control = this.#control;
    // Workers that woke late may still look at the call before.
    Atomics.add(control, GENERATION, 1);
    while (Atomics.load(control, BUSY) !== 0);
    Atomics.store(control, KERNEL, kernel);
    Atomics.store(control, CONTEXT, context);
    Atomics.store(control, DONE, 0);
    Atomics.store(control, COUNT, count);
    Atomics.store(control, NEXT, 0);
    Atomics.add(control, GENERATION, 1);
    Atomics.notify(control, GENERATION);
    takeTasks(control, this.#task);
    while (Atomics.load(control, DONE) < count);
  }

  close() {
    Atomics.store(this.#control, STOP, 1);
    Atomics.add(this.#control, GENERATION, 2);
    Atomics.notify(this.#control, GENERATION);
    this.#workers.forEach((w) => w.terminate());
  }
}

async function startWorker(data) {
  const url = new URL("./worker.js", import.meta.url);
  if (typeof Worker !== "undefined") {
    const worker = new Worker(url, { type: "module" });
    worker.postMessage(data);
    return worker;
  }
  const { Worker: NodeWorker } = await import("node:worker_threads");
  const worker = new NodeWorker(url, { workerData: data });
  // A model that is left open does not keep the program alive.
  worker.unref();
  return worker;
}

if (typeof WorkerGlobalScope !== "undefined" && globalThis instanceof WorkerGlobalScope) {
  globalThis.onmessage = (event) => work(event.data);
} else if (typeof process !== "undefined" && process.versions?.node) {
  const { isMainThread, workerData } = await import("node:worker_threads");
  if (!isMainThread && workerData?.control) work(workerData);
}
