"""Builds single layers into a `Net`: inputs, convolutions, matrix products, pools, with fitting quantisation.

A `scheme` says how a layer computes: f32; i8 and u8 (per tensor); i8c (weights per channel); i16c (16-bit activations,
8-bit weights per channel); hybrid and hybridc (f32 activations, 8-bit weights).
"""
import numpy as np

from net import ACTIVATIONS, DTYPES, SAME

INPUTS = {
    "i8": [(0.0213, -7), (0.0151, 12), (0.0302, 3)],
    "u8": [(0.0213, 121), (0.0151, 140), (0.0302, 131)],
    "i16": [(1.25 / 8192, 0), (0.75 / 8192, 0), (2 / 8192, 0)],
}
SPREAD = {"i8": 73.9, "u8": 73.9, "i16": 18918.0}  # standard deviation of uniform values of the type


def act(scheme):
    """The element type of a scheme's activations."""
    return {"i8c": "i8", "i16c": "i16", "hybrid": "f32", "hybridc": "f32", "f16w": "f32"}.get(scheme, scheme)


def quant(dtype, which=0):
    """One of a few ordinary input quantisations, or None for other types."""
    return INPUTS[dtype][which] if dtype in INPUTS else None


def x(net, shape, dtype="f32", which=0):
    """An input with an ordinary quantisation."""
    return net.input(dtype, shape, quant(dtype, which))


def dtype_of(net, index):
    """The type name of a tensor."""
    return next(n for n, (t, _) in DTYPES.items() if t == net.it.tensors[index].type)


def scale_of(net, index):
    return net.it.tensors[index].quantization.scale[0]


def weights(net, shape, scheme, fan_in, axis, channels):
    """(tensor, scales) of random weights; `axis` is the channel axis."""
    if scheme == "f32":
        return net.const(net.rng.normal(0, fan_in ** -0.5, shape), "f32"), None
    if scheme == "f16w":
        half = net.const(net.rng.normal(0, fan_in ** -0.5, shape), "f16")
        return net.op("DEQUANTIZE", [half], ("f32", None), "DequantizeOptions"), None
    base = 1 / (60 * fan_in ** 0.5)
    if scheme == "u8":
        q = (base, 128 + int(net.rng.integers(-9, 10)))
        return net.const(net.rng.integers(0, 256, shape), "u8", q), np.float64(base)
    if scheme in ("i8", "hybrid"):
        return net.const(net.rng.integers(-127, 128, shape), "i8", (base, 0)), np.float64(base)
    scales = base * net.rng.uniform(0.4, 1.6, channels)
    return net.const(net.rng.integers(-127, 128, shape), "i8", (scales, [0] * channels, axis)), scales


def biased(net, source, scheme, scales, fan_in, channels, bias=True):
    """(bias tensor or -1, quantisation of the result) of a layer with `fan_in` products per result; `bias` may name the element type."""
    dtype = act(scheme)
    if dtype == "f32":
        return (net.const(net.rng.normal(0, 0.5, channels), "f32") if bias else -1), None
    product = scale_of(net, source) * scales
    spread = fan_in ** 0.5 * SPREAD[dtype] * 73.9
    zero = {"i8": 4, "u8": 130, "i16": 0}[dtype]
    result = (float(np.mean(product)) * spread / (50 if dtype != "i16" else 12000), zero)
    if not bias:
        return -1, result
    values = net.rng.integers(-int(spread), int(spread), channels)
    q = (product, 0) if np.ndim(scales) == 0 else (product, [0] * channels, 0)
    usual = "i64" if dtype == "i16" else "i32"
    return net.const(values, usual if bias is True else bias, q), result


def conv(net, source, cin, cout, k=(3, 3), stride=(1, 1), dilation=(1, 1), padding=SAME, activation="none", groups=1, scheme="f32", q=None):
    """CONV_2D; groups follow from a filter with fewer input channels."""
    fan_in = k[0] * k[1] * cin // groups
    w, scales = weights(net, (cout, *k, cin // groups), scheme, fan_in, 0, cout)
    b, fitting = biased(net, source, scheme, scales, fan_in, cout)
    return net.op("CONV_2D", [source, w, b], (act(scheme), q or fitting), "Conv2DOptions", padding=padding, strideH=stride[0], strideW=stride[1],
                  dilationHFactor=dilation[0], dilationWFactor=dilation[1], fusedActivationFunction=ACTIVATIONS[activation])


def depthwise(net, source, cin, multiplier=1, k=(3, 3), stride=(1, 1), dilation=(1, 1), padding=SAME, activation="none", scheme="f32"):
    """DEPTHWISE_CONV_2D."""
    fan_in, cout = k[0] * k[1], cin * multiplier
    w, scales = weights(net, (1, *k, cout), scheme, fan_in, 3, cout)
    b, q = biased(net, source, scheme, scales, fan_in, cout)
    return net.op("DEPTHWISE_CONV_2D", [source, w, b], (act(scheme), q), "DepthwiseConv2DOptions", padding=padding, strideH=stride[0], strideW=stride[1],
                  depthMultiplier=multiplier, dilationHFactor=dilation[0], dilationWFactor=dilation[1], fusedActivationFunction=ACTIVATIONS[activation])


def dense(net, source, cin, cout, activation="none", bias=True, scheme="f32", keep=False, asymmetric=False, **options):
    """FULLY_CONNECTED."""
    w, scales = weights(net, (cout, cin), scheme, cin, 0, cout)
    b, q = biased(net, source, scheme, scales, cin, cout, bias)
    return net.op("FULLY_CONNECTED", [source, w, b], (act(scheme), q), "FullyConnectedOptions", keepNumDims=keep,
                  asymmetricQuantizeInputs=asymmetric, fusedActivationFunction=ACTIVATIONS[activation], **options)


def transpose_conv(net, source, shape, cout, k=(3, 3), stride=(2, 2), padding=SAME, bias=True, scheme="f32", computed=False, **options):
    """TRANSPOSE_CONV of an input [N, H, W, C] to stride times its size (SAME) or what VALID gives; the output shape is a constant or computed from the input's."""
    n, h, w, cin = shape
    grow = [0, 0] if padding == SAME else [max(k[i] - stride[i], 0) for i in range(2)]
    size = net.const([n, h * stride[0] + grow[0], w * stride[1] + grow[1], cout], "i32")
    if computed:
        assert cin == cout and padding == SAME
        size = net.op("SHAPE", [source], ("i32", None), "ShapeOptions", outType=DTYPES["i32"][0])
        size = net.op("MUL", [size, net.const([1, *stride, 1], "i32")], ("i32", None), "MulOptions")
    fan_in = max(1, k[0] * k[1] * cin // (stride[0] * stride[1]))
    filters, scales = weights(net, (cout, *k, cin), scheme, fan_in, 0, cout)
    b, q = biased(net, source, scheme, scales, fan_in, cout, bias)
    return net.op("TRANSPOSE_CONV", [size, filters, source] + ([b] if bias else []), (act(scheme), q), "TransposeConvOptions",
                  padding=padding, strideH=stride[0], strideW=stride[1], **options)


def pool(net, source, code, k=(2, 2), stride=(2, 2), padding=SAME, activation="none"):
    """A pool; its result has the quantisation of its input."""
    t = net.it.tensors[source]
    q = t.quantization and (t.quantization.scale[0], t.quantization.zeroPoint[0])
    return net.op(code, [source], (dtype_of(net, source), q), "Pool2DOptions", padding=padding, filterHeight=k[0], filterWidth=k[1],
                  strideH=stride[0], strideW=stride[1], fusedActivationFunction=ACTIVATIONS[activation])


def add(net, a, b, code="ADD", options="AddOptions", q=None, activation="none"):
    """A sum, or another binary operator with a fused activation."""
    return net.op(code, [a, b], (dtype_of(net, a), q), options, fusedActivationFunction=ACTIVATIONS[activation])
