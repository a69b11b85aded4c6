// Runs TensorFlow Lite models that tflc compiled to WebAssembly, in browsers and in Node. No dependencies.
//
// A module describes itself in its custom section `tflc`; this file finds room for arena, state, inputs and outputs in the
// module's memory, copies values in and out, and turns a status into an error. Nothing here computes.

const VERSION = 1;
const PAGE = 65536;
// Room for the stacks of threads in a shared memory, whose largest size must be said beforehand.
const STACK_PAGES = 1024;

const STATUS = {
  1: "an argument is null or misaligned",
  2: "an index in a tensor lies outside the tensor it points into, or a tensor is longer than its bound; check the model's inputs",
  3: "a loop of the model ran longer than its limit",
  5: "a custom operator failed",
};
const CUSTOM_OPERATOR = 5;

// Codes of element types in descriptions of calls of custom operators.
const CODES = { 0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16", 8: "complex64", 9: "int8", 10: "float64", 11: "complex128", 12: "uint64", 15: "uint32", 16: "uint16", 18: "bfloat16" };

// Types without a typed array of their own come as the bits or bytes that they consist of.
const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  complex64: Float32Array,
  complex128: Float64Array,
  int8: Int8Array,
  uint8: Uint8Array,
  bool: Uint8Array,
  int4: Uint8Array,
  uint4: Uint8Array,
  int2: Uint8Array,
  float8_e4m3fn: Uint8Array,
  float8_e5m2: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  float16: Uint16Array,
  bfloat16: Uint16Array,
  int32: Int32Array,
  resource: Int32Array,
  uint32: Uint32Array,
  int64: BigInt64Array,
  uint64: BigUint64Array,
};

const RANGES = {
  int8: [-128, 127],
  uint8: [0, 255],
  int16: [-32768, 32767],
  uint16: [0, 65535],
  int32: [-2147483648, 2147483647],
  uint32: [0, 4294967295],
};

function typedArray(info) {
  const array = ARRAYS[info.dtype];
  if (!array) throw new TypeError(`tensor ${info.name}: values of type ${info.dtype} cannot be passed`);
  return array;
}

/** Reads the bytes behind a source: bytes, a response, or a path or URL. */
async function bytesOf(source) {
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) return source;
  if (typeof Response !== "undefined" && source instanceof Response) {
    if (!source.ok) throw new Error(`${source.url}: ${source.status} ${source.statusText}`);
    return source.arrayBuffer();
  }
  if (typeof source !== "string" && !(source instanceof URL)) throw new TypeError("expected bytes, a Response, a URL or a path");
  const inNode = typeof process !== "undefined" && process.versions?.node;
  if (inNode && !/^(https?|data|blob):/.test(String(source))) {
    const { readFile } = await import("node:fs/promises");
    return readFile(/^file:/.test(String(source)) ? new URL(source) : source);
  }
  return bytesOf(await fetch(source));
}

/** The description that a compiled module carries. */
export function describe(module) {
  const [section] = WebAssembly.Module.customSections(module, "tflc");
  if (!section) throw new Error("this module was not made by tflc: it has no section `tflc`");
  const description = JSON.parse(new TextDecoder().decode(section));
  if (description.version !== VERSION) {
    throw new Error(`the module's description has version ${description.version}, this loader reads ${VERSION}; use the loader that was written beside the module`);
  }
  return description;
}

/** Compiles and instantiates a model. */
export async function load(source, options = {}) {
  const module = source instanceof WebAssembly.Module ? source : await WebAssembly.compile(await bytesOf(source));
  const description = describe(module);
  let weights = null;
  if (description.weights === "split" && description.weights_bytes > 0) {
    if (options.weights === undefined) throw new Error("the weights of this module are in a file of their own: pass it as the option `weights`");
    const data = await bytesOf(options.weights);
    weights = ArrayBuffer.isView(data) ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : new Uint8Array(data);
    if (weights.length !== description.weights_bytes) {
      throw new Error(`the file of weights has ${weights.length} bytes, the module takes ${description.weights_bytes}`);
    }
  }
  const customs = options.customs ?? {};
  for (const { function: symbol, name } of description.customs ?? []) {
    if (typeof customs[symbol] !== "function") {
      throw new TypeError(`the custom operator ${name} of the model needs a function: pass it as the option \`customs: { ${symbol} }\``);
    }
  }
  const model = new Model(module, description, weights, options.memory, customs);
  if (options.threads > 1) await model._startThreads(options.threads);
  return model;
}

/** Real values as the integers that stand for them: rounded to nearest, ties away from zero, and saturated. */
export function quantize(values, info) {
  const { scale, zeroPoint } = quantization(info);
  const [least, most] = RANGES[info.dtype] ?? [];
  if (least === undefined) throw new TypeError(`tensor ${info.name}: quantised values of type ${info.dtype} are not supported here`);
  return typedArray(info).from(values, (v) => {
    const q = Math.fround(Math.fround(v) / scale);
    return Math.min(most, Math.max(least, Math.sign(q) * Math.floor(Math.abs(q) + 0.5) + zeroPoint));
  });
}

/** Real values of integers that stand for them. */
export function dequantize(values, info) {
  const { scale, zeroPoint } = quantization(info);
  return Float32Array.from(values, (q) => Math.fround(scale * (Number(q) - zeroPoint)));
}

function quantization(info) {
  if (!info.quantization) throw new TypeError(`tensor ${info.name} of type ${info.dtype} is not quantised by one scale`);
  return info.quantization;
}

function tensorInfo(port) {
  const { name, dtype, shape, bytes } = port;
  const info = { name, dtype, shape: Object.freeze(shape), bytes };
  if (port.scale !== undefined) info.quantization = Object.freeze({ scale: Math.fround(port.scale), zeroPoint: port.zero_point });
  return Object.freeze(info);
}

/**
 * Turns what compiled code says of a call of a custom operator into typed arrays: `call` is the address of its description, `list` that of the addresses of its
 * operands and results.
 */
function customCall(memory, call, list) {
  const at = new DataView(memory.buffer);
  const word = (address) => at.getUint32(address, true);
  const [inputs, outputs, tensors] = [4, 8, 12].map((field) => word(call + field));
  const array = (i) => {
    const tensor = call + tensors + 48 * i;
    const shape = Array.from({ length: word(tensor + 24) }, (_, k) => Number(at.getBigUint64(call + word(tensor + 28) + 8 * k, true)));
    const Kind = typedArray({ name: `${i}`, dtype: CODES[word(tensor + 20)] });
    const length = Number(at.getBigUint64(tensor, true)) / Kind.BYTES_PER_ELEMENT;
    const address = word(list + 4 * i);
    // What lies between others need not be aligned: such a tensor is copied, and a result copied back.
    const aligned = address % Kind.BYTES_PER_ELEMENT === 0;
    const bytes = new Uint8Array(memory.buffer, address, length * Kind.BYTES_PER_ELEMENT);
    const data = aligned ? new Kind(memory.buffer, address, length) : new Kind(bytes.slice().buffer);
    const back = () => aligned || bytes.set(new Uint8Array(data.buffer));
    return { data, shape, back };
  };
  const all = Array.from({ length: inputs + outputs }, (_, i) => array(i));
  const options = new Uint8Array(memory.buffer, call + word(call + 20), word(call + 24)).slice();
  const view = ({ data, shape }) => ({ data, shape });
  return { inputs: all.slice(0, inputs).map(view), outputs: all.slice(inputs).map(view), options, done: () => all.slice(inputs).forEach((t) => t.back()) };
}

/** An entry point of a model: inputs, outputs, and what computes these from those. */
class Entry {
  #ports;
  #model;
  #places;
  #names;

  /** `names` maps further names to positions, of inputs and outputs. */
  constructor(ports, names) {
    this.#ports = ports;
    this.#names = names;
    this.inputs = Object.freeze(ports.inputs.map(tensorInfo));
    this.outputs = Object.freeze(ports.outputs.map(tensorInfo));
  }

  /** Called once there is memory: `model` has the memory, the arena and the code, `places` the addresses of tensors. */
  _place(model, places) {
    this.#model = model;
    this.#places = places;
  }

  #index(kind, key) {
    const infos = this[kind];
    let i = typeof key === "number" ? key : infos.findIndex((t) => t.name === key);
    // A signature's names are known too.
    if (i < 0) i = this.#names[kind][key] ?? -1;
    if (!infos[i]) {
      throw new RangeError(`there is no ${kind.slice(0, -1)} ${JSON.stringify(key)}; the model has ${infos.map((t) => t.name).join(", ")}`);
    }
    return i;
  }

  #view(kind, key) {
    const i = this.#index(kind, key);
    const info = this[kind][i];
    const array = typedArray(info);
    const length = info.bytes / array.BYTES_PER_ELEMENT;
    const share = kind === "outputs" ? this.#share(i) : 1;
    return new array(this.#model.memory().buffer, this.#places[kind][i], Math.round(length * share));
  }

  /** The part of an output's elements that the last run gave. */
  #share(i) {
    const count = (shape) => shape.reduce((n, d) => n * d, 1);
    const most = count(this.outputs[i].shape);
    return most === 0 ? 1 : count(this.outputShape(i)) / most;
  }

  /** The shape of an output after the last run: `outputs[i].shape`, or a smaller one where the size is known only then. */
  outputShape(key = 0) {
    const i = this.#index("outputs", key);
    const { open_axis: axis, extent } = this.#ports.outputs[i];
    const shape = [...this.outputs[i].shape];
    for (let d = axis ?? shape.length; d < shape.length; d++) {
      const length = Number(new DataView(this.#model.memory().buffer).getBigInt64(this.#model.arena + extent + 8 * (d - axis), true));
      shape[d] = Math.min(shape[d], Math.max(0, length));
    }
    return shape;
  }

  /** The memory of an input, to be filled in place; valid until the memory grows. */
  inputView(key = 0) {
    return this.#view("inputs", key);
  }

  /** The memory of an output; valid until the memory grows, its content until the next run. */
  outputView(key = 0) {
    return this.#view("outputs", key);
  }

  /** Computes the outputs from what the inputs' memory holds. */
  invoke() {
    this.#model.invoke(this.#ports.export ?? "invoke", this.#places);
  }

  /** Computes the outputs from inputs by name, in order, or alone. */
  run(inputs = {}) {
    const given = ArrayBuffer.isView(inputs) ? [inputs] : inputs;
    const list = Array.isArray(given);
    const count = list ? given.length : Object.keys(given).length;
    if (count !== this.inputs.length) {
      throw new RangeError(`${count} inputs given; the model has ${this.inputs.length}: ${this.inputs.map((t) => t.name).join(", ")}`);
    }
    for (const [key, value] of Object.entries(given)) {
      const i = this.#index("inputs", list ? Number(key) : key);
      const view = this.#view("inputs", i);
      const { name, dtype, shape } = this.inputs[i];
      if (!ArrayBuffer.isView(value) || value.constructor !== view.constructor || value.length !== view.length) {
        const what = ArrayBuffer.isView(value) ? `a ${value.constructor.name} of ${value.length}` : typeof value;
        throw new TypeError(`input ${name} of type ${dtype} [${shape.join(", ")}] takes a ${view.constructor.name} of ${view.length}, not ${what}`);
      }
      view.set(value);
    }
    this.invoke();
    return Object.fromEntries(this.outputs.map((t, i) => [t.name, this.#view("outputs", i).slice()]));
  }
}

/** A signature of a model: an entry point whose inputs and outputs go by the signature's names. */
class SignatureEntry extends Entry {
  constructor(ports, signature) {
    // The signature's own names come first; tensors that it does not name keep theirs.
    const named = (kind) => {
      const names = new Map(Object.entries(signature[kind]).map(([name, i]) => [i, name]));
      return ports[kind].map((port, i) => ({ ...port, name: names.get(i) ?? port.name }));
    };
    super({ ...ports, inputs: named("inputs"), outputs: named("outputs") }, signature);
    this.key = signature.key;
  }
}

/** A model with an arena and a state of its own. */
export class Model extends Entry {
  #module;
  #description;
  #weights;
  #customs;
  #exports;
  #memory;
  #arena;
  #state;
  #entries;
  #failure = null;
  #pool = null;

  constructor(module, description, weights, memory, customs) {
    const own = description.signatures.filter((s) => !s.entry);
    super(description, { inputs: Object.assign({}, ...own.map((s) => s.inputs)), outputs: Object.assign({}, ...own.map((s) => s.outputs)) });
    this.#module = module;
    this.#description = description;
    this.#weights = weights;
    this.#customs = customs;
    this.name = description.name;
    this.signatures = Object.freeze(description.signatures);
    const ports = [description, ...(description.entries ?? [])];
    const entries = description.signatures.map((s) => [s.key, [new SignatureEntry(ports[s.entry ?? 0], s), s.entry ?? 0]]);
    this.#entries = new Map(entries);
    this.#instantiate(memory);
  }

  /** The entry point of a signature, which shares weights, arena and state with the model. */
  signature(key) {
    const found = this.#entries.get(key);
    if (!found) throw new RangeError(`there is no signature ${JSON.stringify(key)}; the model has ${[...this.#entries.keys()].join(", ") || "none"}`);
    return found[0];
  }

  #instantiate(memory) {
    const d = this.#description;
    const own = d.memory === "exported";
    const shared = d.memory === "shared";
    if (own && memory) throw new Error("this module has a memory of its own and takes no other");
    // Everything that the caller of `invoke` provides, behind the static region.
    const align = (n, to = d.alignment) => Math.ceil(n / to) * to;
    const entries = [d, ...(d.entries ?? [])];
    const room = (e) => [4 * e.inputs.length, 4 * e.outputs.length, ...e.inputs.map((p) => p.bytes), ...e.outputs.map((p) => p.bytes)];
    const sizes = [d.arena_bytes, d.state_bytes, ...entries.flatMap(room)].map((n) => align(n));
    const need = sizes.reduce((a, b) => a + b, 0);
    const custom = Object.fromEntries((d.customs ?? []).map(({ function: symbol }) => [symbol, (call, list) => this.#custom(symbol, call, list)]));
    let start;
    if (own) {
      this.#exports = new WebAssembly.Instance(this.#module, { custom }).exports;
      this.#memory = this.#exports.memory;
      start = align(d.base + d.static_bytes);
      this.#grow(start + need);
    } else {
      // Memory given by the caller is used from its end on.
      const first = memory ? memory.buffer.byteLength : align(d.base);
      start = align(first + d.static_bytes);
      const pages = Math.ceil((start + need) / PAGE);
      this.#memory = memory ?? new WebAssembly.Memory({ initial: pages, ...(shared ? { maximum: Math.min(PAGE, pages + STACK_PAGES), shared } : {}) });
      this.#grow(start + need);
      const base = new WebAssembly.Global({ value: "i32", mutable: false }, first);
      const run = (kernel, context, count) => this.#run(kernel, context, count);
      this.#exports = new WebAssembly.Instance(this.#module, { env: { memory: this.#memory, base, run }, custom }).exports;
      this.#exports.init?.();
      d.base = first;
    }
    if (this.#weights) new Uint8Array(this.#memory.buffer).set(this.#weights, d.base);
    const next = () => {
      const address = start;
      start += sizes.shift();
      return address;
    };
    [this.#arena, this.#state] = [next(), next()];
    const model = {
      memory: () => this.#memory,
      arena: this.#arena,
      invoke: (name, places) => this.#invoke(name, places),
    };
    const places = entries.map((e) => {
      const lists = { inputs: next(), outputs: next() };
      const place = { inputs: e.inputs.map(next), outputs: e.outputs.map(next), lists };
      for (const kind of ["inputs", "outputs"]) new Uint32Array(this.#memory.buffer, lists[kind], place[kind].length).set(place[kind]);
      return place;
    });
    this._place(model, places[0]);
    for (const [entry, i] of this.#entries.values()) entry._place(model, places[i]);
    this.reset();
  }

  #invoke(name, { lists }) {
    this.#failure = null;
    const status = this.#exports[name](this.#arena, this.#state, lists.inputs, lists.outputs);
    if (this.#failure) throw this.#failure.error;
    if (status !== 0) throw new Error(`model ${this.name}: ${STATUS[status] ?? `status ${status}`}`);
  }

  /** Calls the caller's function of a custom operator; what it throws ends the run, and is thrown by it. */
  #custom(symbol, call, list) {
    try {
      const { done, ...about } = customCall(this.#memory, call, list);
      this.#customs[symbol](about);
      done();
      return 0;
    } catch (error) {
      this.#failure = { error };
      return CUSTOM_OPERATOR;
    }
  }

  #grow(bytes) {
    const missing = Math.ceil((bytes - this.#memory.buffer.byteLength) / PAGE);
    if (missing > 0) this.#memory.grow(missing);
  }

  #run(kernel, context, count) {
    if (this.#pool) return this.#pool.run(kernel, context, count);
    for (let i = 0; i < count; i++) this.#exports.task(kernel, context, i);
  }

  /** Sets all variables back to zero. */
  reset() {
    new Uint8Array(this.#memory.buffer, this.#state, this.#description.state_bytes).fill(0);
  }

  /** Another model of the same code, with a memory of its own. */
  instance() {
    return new Model(this.#module, { ...this.#description, base: 1024 }, this.#weights, undefined, this.#customs);
  }

  /** The memory that holds weights, arena and tensors. */
  get memory() {
    return this.#memory;
  }

  async _startThreads(threads) {
    if (this.#description.memory !== "shared") throw new Error("only modules with shared memory run on several threads");
    const { Pool } = await import("./worker.js");
    this.#pool = await Pool.start(threads - 1, {
      module: this.#module,
      memory: this.#memory,
      base: this.#description.base,
      stackBytes: this.#description.stack_bytes,
      task: this.#exports.task,
    });
  }

  /** Ends the threads of a model that has some; it goes on alone. */
  close() {
    this.#pool?.close();
    this.#pool = null;
  }
}
