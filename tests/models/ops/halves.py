"""Models of layers and reductions whose activations are float16: only XNNPACK has kernels for them.

On processors with arithmetic of float16 XNNPACK rounds every sum. Weights are -1, 0 and 1 and biases multiples of 1/128, so that the sums of these
inputs are exact in float16 and every order and precision gives the same answers.
"""
import numpy as np

from net import ACTIVATIONS, DTYPES, SAME, VALID

KINDS = dict(inDataType=DTYPES["bool"][0], outDataType=DTYPES["f16"][0])


def ones(net, shape, dtype="f16"):
    """Weights of -1, 0 and 1, as floats or quantised with scale 1."""
    q = None if dtype == "f16" else (1.0, 0)
    return net.const(net.rng.integers(-1, 2, shape), dtype, q)


def bias(net, channels, dtype):
    return -1 if dtype is None else net.const(net.rng.integers(-128, 128, channels) / 128, dtype)


def conv(code, shape, cout, k, added="f16", stride=1, padding=SAME, activation="none"):
    """CONV_2D or DEPTHWISE_CONV_2D."""
    def make(net):
        n, h, w, cin = shape
        depthwise = code == "DEPTHWISE_CONV_2D"
        source, weights = net.input("f16", shape), ones(net, (1, k, k, cout) if depthwise else (cout, k, k, cin))
        size = [-(-s // stride) if padding == SAME else (s - k) // stride + 1 for s in (h, w)]
        options = dict(padding=padding, strideH=stride, strideW=stride, fusedActivationFunction=ACTIVATIONS[activation])
        if depthwise:
            options["depthMultiplier"] = cout // cin
        table = "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions"
        out = net.tensor("f16", (n, *size, cout))
        net.outputs(*net.op(code, [source, weights, bias(net, cout, added)], [out], table, **options))
    return make


def dense(rows, cin, cout, added="f16", activation="none"):
    """FULLY_CONNECTED with weights of float16."""
    def make(net):
        parts = [net.input("f16", (rows, cin)), ones(net, (cout, cin)), bias(net, cout, added)]
        out = net.tensor("f16", (rows, cout))
        net.outputs(*net.op("FULLY_CONNECTED", parts, [out], "FullyConnectedOptions", fusedActivationFunction=ACTIVATIONS[activation]))
    return make


def dense_integers(rows, cin, cout, dtype):
    """FULLY_CONNECTED with weights of integers: rows are quantised at run time."""
    def make(net):
        low, high, base = (-127, 128, 0.004) if dtype == "i8" else (-7, 8, 0.06)
        weights = net.const(net.rng.integers(low, high, (cout, cin)), dtype, (net.rng.uniform(base, 2 * base, cout), [0] * cout, 0))
        parts = [net.input("f16", (rows, cin)), weights, bias(net, cout, "f32")]
        net.outputs(*net.op("FULLY_CONNECTED", parts, [net.tensor("f16", (rows, cout))], "FullyConnectedOptions"))
    return make


def product(a, b, out, constant, **options):
    """BATCH_MATMUL with a right side of constants, or of zeros and ones."""
    def make(net):
        left = net.input("f16", a)
        right = ones(net, b) if constant else net.op("CAST", [net.input("bool", b)], [net.tensor("f16", b)], "CastOptions", **KINDS)[0]
        net.outputs(*net.op("BATCH_MATMUL", [left, right], [net.tensor("f16", out)], "BatchMatMulOptions", **options))
    return make


def reduction(code, shape, axes, keep=False):
    def make(net):
        out = [1 if d in axes else n for d, n in enumerate(shape) if keep or d not in axes]
        parts = [net.input("f16", shape), net.const(axes, "i32")]
        net.outputs(*net.op(code, parts, [net.tensor("f16", out)], "ReducerOptions", keepDims=keep))
    return make


def pool(shape, k, stride, padding):
    def make(net):
        n, h, w, c = shape
        size = [-(-s // stride) if padding == SAME else (s - k) // stride + 1 for s in (h, w)]
        net.outputs(*net.op("AVERAGE_POOL_2D", [net.input("f16", shape)], [net.tensor("f16", (n, *size, c))], "Pool2DOptions", padding=padding,
                            filterHeight=k, filterWidth=k, strideH=stride, strideW=stride))
    return make


def network(net):
    """Layers, an activation between them and a mean, as converters of float16 models leave them."""
    source = net.input("f16", (1, 6, 6, 3))
    y, = net.op("CONV_2D", [source, ones(net, (8, 1, 1, 3)), bias(net, 8, "f16")], [net.tensor("f16", (1, 6, 6, 8))], "Conv2DOptions",
                padding=SAME, strideH=1, strideW=1, fusedActivationFunction=ACTIVATIONS["relu"])
    y, = net.op("AVERAGE_POOL_2D", [y], [net.tensor("f16", (1, 3, 3, 8))], "Pool2DOptions", padding=VALID, filterHeight=2, filterWidth=2,
                strideH=2, strideW=2)
    y, = net.op("REDUCE_MAX", [y, net.const([1, 2], "i32")], [net.tensor("f16", (1, 8))], "ReducerOptions")
    y, = net.op("FULLY_CONNECTED", [y, ones(net, (4, 8)), bias(net, 4, "f16")], [net.tensor("f16", (1, 4))], "FullyConnectedOptions")
    net.outputs(y)


def models():
    """Pairs of name and maker."""
    yield "conv_f16_1x1", conv("CONV_2D", (1, 5, 6, 7), 18, 1)
    yield "conv_f16_3x3_s2_relu", conv("CONV_2D", (2, 7, 6, 1), 9, 3, "f32", 2, SAME, "relu")
    yield "conv_f16_2x2_valid", conv("CONV_2D", (1, 6, 5, 3), 33, 2, padding=VALID)
    yield "depthwise_f16_3x3", conv("DEPTHWISE_CONV_2D", (1, 7, 6, 10), 10, 3, activation="relu6")
    yield "depthwise_f16_multiplier2", conv("DEPTHWISE_CONV_2D", (1, 6, 6, 5), 10, 3, "f32", 2)
    yield "dense_f16", dense(3, 12, 20)
    yield "dense_f16_nobias_relu", dense(1, 13, 7, None, "relu")
    yield "dense_f16_bias_f32", dense(5, 8, 35, "f32")
    yield "dense_f16_i8_weights", dense_integers(3, 24, 10, "i8")
    yield "dense_f16_i4_weights", dense_integers(2, 32, 9, "i4")
    yield "batch_matmul_f16", product((2, 5, 9), (2, 9, 6), (2, 5, 6), False)
    yield "batch_matmul_f16_adjoint_y", product((2, 4, 8), (2, 7, 8), (2, 4, 7), False, adjY=True)
    yield "batch_matmul_f16_constant", product((3, 4, 10), (3, 10, 5), (3, 4, 5), True)
    for code in ("SUM", "MEAN", "REDUCE_MAX", "REDUCE_MIN"):
        yield f"{code.lower()}_f16", reduction(code, (3, 8, 5), [1])
    yield "sum_f16_last", reduction("SUM", (3, 4, 8), [2], True)
    yield "mean_f16_image", reduction("MEAN", (2, 4, 4, 9), [1, 2])
    yield "average_pool_f16", pool((1, 6, 8, 5), 2, 2, SAME)
    yield "average_pool_f16_valid", pool((2, 5, 5, 18), 2, 1, VALID)
    yield "net_f16", network
