#!/usr/bin/env python3
"""Compares integer operators with LiteRT on a million elements each (pip install ai-edge-litert numpy flatbuffers).

usage: compare.py TFLC [PART_OF_A_NAME ...]        (all of them in less than a minute)

The models of this folder are small: a rounding that goes wrong once in a hundred thousand elements does not show in them. Here scales, zero points,
weights and elements are random, three times for each operator. Prints how many elements of the compiled model differ from LiteRT's default path and
from its reference kernels, and exits with 1 where any differs from the first.
"""
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from net import ACTIVATIONS, DTYPES, SAME, VALID, Net

ROUNDS = 3
IMAGE = (1, 64, 128, 127)
# For ADD: TFLite rounds what is left of groups of sixteen in another way (compiler/docs/numerics.md).
WHOLE = (1, 64, 128, 128)


class Cases:
    """Random models of one operator; each yields (name, what builds it, shapes and types of its inputs)."""

    def __init__(self, rng, dtype):
        self.rng, self.dtype = rng, dtype
        self.wide = dtype == "i16"
        self.steps = 32767 if self.wide else 127

    def scale(self, factor=1.0):
        return float(self.rng.uniform(0.5, 2)) * (1e-4 if self.wide else 0.01) * factor

    def q(self, factor=1.0):
        """A random (scale, zero point)."""
        middle = {"i8": 0, "u8": 128, "i16": 0}[self.dtype]
        return self.scale(factor), 0 if self.wide else middle + int(self.rng.integers(-20, 20))

    def one(self, code, shape, result, options=None, source=None, consts=(), **fields):
        """An operator of one input and int32 constants."""
        source = source or self.q()

        def build(net):
            parts = [net.input(self.dtype, shape, source)] + [net.const(c, "i32") for c in consts]
            net.outputs(net.op(code, parts, (self.dtype, result), options, **fields))
        return build, [(shape, self.dtype)]

    def two(self, code, other, activation="none"):
        """ADD, SUB or MUL."""
        a, b, out = self.q(), self.q(), self.q()
        if code == "MUL":
            out = (a[0] * b[0] * self.steps / 2 * float(self.rng.uniform(0.7, 1.5)), out[1])

        def build(net):
            parts = [net.input(self.dtype, WHOLE, a), net.input(self.dtype, other, b)]
            net.outputs(net.op(code, parts, (self.dtype, out), f"{code.capitalize()}Options", fusedActivationFunction=ACTIVATIONS[activation]))
        return build, [(WHOLE, self.dtype), (other, self.dtype)]

    def product(self, code, bias, named, activation="none"):
        """CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV or FULLY_CONNECTED with constant weights; `bias` and `named` are types."""
        dense, deep, turned = code == "FULLY_CONNECTED", code == "DEPTHWISE_CONV_2D", code == "TRANSPOSE_CONV"
        cin, cout, side = (50, 203, 1500) if dense else (22, 22, 140) if deep else (11, 37, 64)
        shape = (side, cin) if dense else (1, side, side, cin)
        weights, axis, depth = ((cout, cin), 0, cin) if dense else ((1, 3, 3, cout), 3, 9) if deep else ((cout, 3, 3, cin), 0, 9 * cin)
        kind = "u8" if self.dtype == "u8" else "i8"
        # XNNPACK takes one scale for the weights of FULLY_CONNECTED of bytes; unsigned weights have one everywhere.
        single = kind == "u8" or dense and not self.wide
        scales = self.rng.uniform(0.005, 0.02, 1 if single else cout)
        zeros = [120 if kind == "u8" else 0] * len(scales)
        source, out = self.q(), self.q()
        out = (source[0] * float(np.mean(scales)) * depth ** 0.5 * 60, out[1])
        values = self.rng.integers(1 if kind == "u8" else -127, 256 if kind == "u8" else 128, weights)
        biases = self.rng.integers(-10 ** (6 if self.wide else 4), 10 ** (6 if self.wide else 4), cout)

        def build(net):
            x = net.input(self.dtype, shape, source)
            w = net.const(values, kind, (scales, zeros, axis))
            b = net.const(biases, bias, (source[0] * scales * np.ones(1 if single else cout), [0] * len(scales), 0)) if bias else -1
            fields = {"fusedActivationFunction": ACTIVATIONS[activation]}
            if named:
                fields["quantizedBiasType"] = DTYPES[named][0]
            if not dense:
                fields |= {"padding": SAME, "strideH": 1, "strideW": 1}
            if not dense and not turned:
                fields |= {"dilationHFactor": 1, "dilationWFactor": 1}
            if deep:
                fields["depthMultiplier"] = 1
            options = {"CONV_2D": "Conv2D", "DEPTHWISE_CONV_2D": "DepthwiseConv2D", "TRANSPOSE_CONV": "TransposeConv", "FULLY_CONNECTED": "FullyConnected"}
            parts = [net.const([1, side, side, cout], "i32"), w, x] + ([b] if bias else []) if turned else [x, w, b]
            net.outputs(net.op(code, parts, (self.dtype, out), f"{options[code]}Options", **fields))
        return build, [(shape, self.dtype)]

    def matmul(self, adjoint):
        """BATCH_MATMUL of two inputs."""
        k, a, b = 37, self.q(), self.q()
        out = (a[0] * b[0] * k ** 0.5 * self.steps, self.q()[1])
        shapes = (4, 300, k), (4, 200, k) if adjoint else (4, k, 200)

        def build(net):
            parts = [net.input(self.dtype, shape, q) for shape, q in zip(shapes, (a, b))]
            net.outputs(net.op("BATCH_MATMUL", parts, (self.dtype, out), "BatchMatMulOptions", adjY=adjoint))
        return build, [(shape, self.dtype) for shape in shapes]

    def all(self):
        """(name, (build, inputs)) of everything that LiteRT has for this type."""
        for code in ("ADD", "SUB", "MUL"):
            for form, other in {"same": WHOLE, "row": (1, 1, 1, WHOLE[3]), "scalar": (1, 1, 1, 1), "column": (1, *WHOLE[1:3], 1)}.items():
                yield f"{code} {form}", self.two(code, other)
            yield f"{code} relu6", self.two(code, WHOLE, "relu6")
        unary = ["RELU", "RELU6", "LOGISTIC", "TANH", "GELU", "LEAKY_RELU"] + ([] if self.wide else ["HARD_SWISH"])
        units = {"LOGISTIC": (256, -128, 0), "TANH": (128, 0, 128)}
        fields = {"GELU": ("GeluOptions", {}), "LEAKY_RELU": ("LeakyReluOptions", {"alpha": float(self.rng.uniform(0.05, 0.4))})}
        for code in unary:
            steps, signed, unsigned = units.get(code, (0, 0, 0))
            result = (1 / 32768, 0) if steps and self.wide else (1 / steps, signed if self.dtype == "i8" else unsigned) if steps else self.q()
            options, more = fields.get(code, (None, {}))
            yield code, self.one(code, IMAGE, result, options, **more)
        for axes, shape in (([1, 2], (3, 17, 19, 513)), ([3], (3, 170, 190, 23))):
            yield f"MEAN {axes}", self.one("MEAN", shape, self.q(), "ReducerOptions", consts=[axes])
            yield f"SUM {axes}", self.one("SUM", shape, self.q(19.0), "ReducerOptions", consts=[axes])
        for code in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
            q = self.q(5.0)
            for k, stride, padding, activation in (((2, 2), (2, 2), VALID, "none"), ((7, 5), (3, 2), SAME, "relu6")):
                window = {"filterHeight": k[0], "filterWidth": k[1], "strideH": stride[0], "strideW": stride[1], "padding": padding}
                yield f"{code} {k}", self.one(code, (2, 161, 153, 47), q, "Pool2DOptions", q, fusedActivationFunction=ACTIVATIONS[activation], **window)
        for half, corners in ((False, False), (True, False), (False, True)):
            q, fields = self.q(), {"halfPixelCenters": half, "alignCorners": corners}
            yield f"RESIZE_BILINEAR {half} {corners}", self.one("RESIZE_BILINEAR", (1, 41, 43, 137), q, "ResizeBilinearOptions", q, consts=[[97, 90]], **fields)
        if self.dtype != "u8":
            yield "BATCH_MATMUL", self.matmul(False)
            yield "BATCH_MATMUL adjoint", self.matmul(True)
        if self.wide:
            for code in ("CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED"):
                for bias, named in (("i64", "i64"), ("i32", "i32")) + (() if code == "CONV_2D" else ((None, "i64"), (None, "i32"))):
                    yield f"{code} bias {bias} named {named}", self.product(code, bias, named)
            yield "DEPTHWISE_CONV_2D", self.product("DEPTHWISE_CONV_2D", "i64", None)
        else:
            for code in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"):
                yield code, self.product(code, "i32", None)
                yield f"{code} relu", self.product(code, "i32", None, "relu")


def litert(path, inputs, kernels):
    """The first output of LiteRT, and its inputs by name."""
    model = Interpreter(model_path=str(path), num_threads=1, experimental_op_resolver_type=kernels)
    model.allocate_tensors()
    for detail, value in zip(model.get_input_details(), inputs):
        model.set_tensor(detail["index"], value)
    model.invoke()
    named = {f"in/{d['name']}": v for d, v in zip(model.get_input_details(), inputs)}
    return model.get_tensor(model.get_output_details()[0]["index"]), named


def main():
    tflc, wanted = sys.argv[1], sys.argv[2:]
    rng = np.random.default_rng(5)
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        path, given, got = (pathlib.Path(folder) / name for name in ("model.tflite", "in.npz", "out.npz"))
        for _ in range(ROUNDS):
            for dtype in ("i8", "u8", "i16"):
                for name, (build, sources) in Cases(rng, dtype).all():
                    name = f"{name} {dtype}"
                    inputs = [rng.integers(np.iinfo(DTYPES[d][1]).min, np.iinfo(DTYPES[d][1]).max + 1, s).astype(DTYPES[d][1]) for s, d in sources]
                    if wanted and not any(w in name for w in wanted):
                        continue
                    net = Net(1)
                    build(net)
                    net.save(path)
                    default, named = litert(path, inputs, OpResolverType.AUTO)
                    reference, _ = litert(path, inputs, OpResolverType.BUILTIN_REF)
                    np.savez(given, **named)
                    subprocess.run([tflc, "run", path, "--inputs", given, "--output", got], check=True, stdout=subprocess.DEVNULL)
                    with np.load(got) as file:
                        ours = file[file.files[0]]
                    differ = int((ours != default).sum())
                    wrong += differ > 0
                    print(f"{name:44} {differ} of {ours.size} differ, {int((ours != reference).sum())} from the reference kernels", flush=True)
    print(f"{wrong} comparisons with a difference")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
