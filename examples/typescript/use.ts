// What a program in TypeScript writes: it is only checked, by the types that the compiler puts beside a module.
import { load, quantize, dequantize, Model, type Inputs, type Outputs } from "digits";

const model: Model<Inputs, Outputs> = await load();
const input: Int8Array = new Int8Array(32 * 32);
const scores: Int8Array = model.run({ "serving_default_image:0": input })["StatefulPartitionedCall_1:0"];
const best: number = scores.indexOf(Math.max(...scores));
console.log(best, model.inputs[0]?.shape);
// @ts-expect-error: an input of another type
model.run({ "serving_default_image:0": new Float32Array(1024) });
// @ts-expect-error: an input that the model does not have
model.run({ picture: input });
export { quantize, dequantize };
