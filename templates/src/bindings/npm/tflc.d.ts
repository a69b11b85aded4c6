// Types of the loader of models that tflc compiled to WebAssembly.

/** Where bytes come from: bytes, a response, a URL, or a path (Node). */
export type Source = ArrayBuffer | ArrayBufferView | Response | URL | string;

/** Values of a tensor, dense, in row-major order. Types without a typed array of their own come as the bits or bytes they consist of. */
export type TensorData =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array;

/** Affine quantisation: real = scale * (q - zeroPoint). */
export interface Quantization {
  readonly scale: number;
  readonly zeroPoint: number;
}

/** An input or output. */
export interface TensorInfo {
  readonly name: string;
  /** Element type, such as "float32" or "int8". */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Size of a value in bytes. */
  readonly bytes: number;
  /** Where the tensor is quantised by one scale. */
  readonly quantization?: Quantization;
}

/** A signature: positions of inputs and outputs by its own names. */
export interface Signature {
  readonly key: string;
  /** Entry point of the module: none or 0 for the primary one. */
  readonly entry?: number;
  readonly inputs: Readonly<Record<string, number>>;
  readonly outputs: Readonly<Record<string, number>>;
}

/** An operand or result of a custom operator: its values, in the module's memory or a copy, and its shape. */
export interface CustomTensor {
  readonly data: TensorData;
  readonly shape: readonly number[];
}

/** A call of a custom operator; `options` are those of the model file. */
export interface CustomCall {
  readonly inputs: readonly CustomTensor[];
  readonly outputs: readonly CustomTensor[];
  readonly options: Uint8Array;
}

/** Computes a custom operator: writes all elements of the results. What it throws ends the run. */
export type CustomFunction = (call: CustomCall) => void;

export interface LoadOptions {
  /** Functions of the custom operators of the model, by the names that `--custom NAME=FUNCTION` gave them. */
  customs?: { readonly [name: string]: CustomFunction };
  /** The file of weights, where they are not in the module. */
  weights?: Source;
  /** A memory to use, where the module imports one; it grows by what the model needs. */
  memory?: WebAssembly.Memory;
  /** Number of threads, the caller's included; more than one needs a module with shared memory. */
  threads?: number;
}

/** The description that a compiled module carries, in its own form. */
export interface Description {
  readonly version: number;
  readonly name: string;
  readonly memory: "exported" | "imported" | "shared";
  readonly weights: "embedded" | "split";
  readonly weights_bytes: number;
  readonly arena_bytes: number;
  readonly state_bytes: number;
  readonly [field: string]: unknown;
}

/** Names of inputs or outputs with their values. */
export type Tensors<T> = { [K in keyof T]: TensorData };

/** An entry point of a model. */
export interface Entry<Inputs extends Tensors<Inputs> = Record<string, TensorData>, Outputs extends Tensors<Outputs> = Record<string, TensorData>> {
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
  /**
   * Computes the outputs from inputs by name, in order, or alone. The values returned are copies.
   *
   * Throws a TypeError or RangeError where inputs do not fit, an Error where the run ends with a status.
   */
  run(inputs: Inputs | TensorData[] | TensorData): Outputs;
  /** The memory of an input, to be filled in place before `invoke`; valid until the memory grows. */
  inputView(key?: (keyof Inputs & string) | number): TensorData;
  /** The memory of an output; valid until the memory grows, its content until the next run. */
  outputView(key?: (keyof Outputs & string) | number): TensorData;
  /** The shape of an output after the last run: `outputs[i].shape`, or a smaller one where the size is known only then. */
  outputShape(key?: (keyof Outputs & string) | number): number[];
  /** Computes the outputs from what the inputs' memory holds, without copying. */
  invoke(): void;
}

/** The entry point of a signature; inputs and outputs go by the signature's names. */
export interface SignatureEntry<Inputs extends Tensors<Inputs> = Record<string, TensorData>, Outputs extends Tensors<Outputs> = Record<string, TensorData>>
  extends Entry<Inputs, Outputs> {
  readonly key: string;
}

/**
 * A model with an arena and a state of its own.
 *
 * `Inputs`, `Outputs` and `Signatures` map names to typed arrays; the file `NAME.d.ts` written beside a module has them for that model.
 */
export class Model<
  Inputs extends Tensors<Inputs> = Record<string, TensorData>,
  Outputs extends Tensors<Outputs> = Record<string, TensorData>,
  Signatures = Record<string, { inputs: Record<string, TensorData>; outputs: Record<string, TensorData> }>,
> implements Entry<Inputs, Outputs> {
  private constructor();
  readonly name: string;
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
  readonly signatures: readonly Signature[];
  /** The memory that holds weights, arena and tensors. */
  readonly memory: WebAssembly.Memory;
  run(inputs: Inputs | TensorData[] | TensorData): Outputs;
  inputView(key?: (keyof Inputs & string) | number): TensorData;
  outputView(key?: (keyof Outputs & string) | number): TensorData;
  outputShape(key?: (keyof Outputs & string) | number): number[];
  invoke(): void;
  /** The entry point of a signature that was compiled, which shares weights, arena and state with the model. */
  signature<K extends keyof Signatures & string>(
    key: K,
  ): Signatures[K] extends { inputs: infer I extends Tensors<I>; outputs: infer O extends Tensors<O> } ? SignatureEntry<I, O> : never;
  /** Sets all variables back to zero. */
  reset(): void;
  /** Another model of the same code, with a memory of its own. */
  instance(): Model<Inputs, Outputs, Signatures>;
  /** Ends the threads of a model that has some; it goes on alone. */
  close(): void;
}

/** Compiles and instantiates a model. */
export function load<
  Inputs extends Tensors<Inputs> = Record<string, TensorData>,
  Outputs extends Tensors<Outputs> = Record<string, TensorData>,
>(source: Source | WebAssembly.Module, options?: LoadOptions): Promise<Model<Inputs, Outputs>>;

/** The description that a compiled module carries. */
export function describe(module: WebAssembly.Module): Description;

/** Real values as the integers that stand for them: rounded to nearest, ties away from zero, and saturated. */
export function quantize(values: Iterable<number>, info: TensorInfo): TensorData;

/** Real values of integers that stand for them. */
export function dequantize(values: Iterable<number> | TensorData, info: TensorInfo): Float32Array;
