"""Models of integers of less than a byte that are computed: CAST, DEQUANTIZE and operators that move them; and conversions with several scales."""
import numpy as np

from element_types import converted
from layers import add, x
from net import DTYPES

SHAPE = (3, 5)
SCALES = {"i4": (0.3, 0), "u4": (0.25, 7), "i2": (0.7, 0)}


def narrow(net, dtype, shape=SHAPE, q=None):
    """Floats beyond the range of the type at both ends, as elements of it."""
    value = add(net, x(net, shape), net.const(np.array([20.0]), "f32"), "MUL", "MulOptions")
    return net.op("CAST", [value], (dtype, q, shape), "CastOptions", inDataType=DTYPES["f32"][0], outDataType=DTYPES[dtype][0])


def there_and_back(dtype):
    """CAST of floats, and of what comes out to floats; both are results."""
    def make(net):
        value = narrow(net, dtype)
        net.outputs(converted(net, value, dtype, "f32"), value)
    return make


def dequantized(dtype, channels=None):
    """DEQUANTIZE of computed integers, with one scale or one for each column."""
    def make(net):
        q = SCALES[dtype]
        if channels:
            q = (net.rng.uniform(0.1, 0.9, channels), [0] * channels, 1)
        net.outputs(net.op("DEQUANTIZE", [narrow(net, dtype, SHAPE, q)], ("f32", None), "DequantizeOptions"))
    return make


def quantized_channels(dtype):
    """QUANTIZE with one scale for each column."""
    def make(net):
        q = (net.rng.uniform(0.003, 0.02, 6) * (0.01 if dtype == "i16" else 1), [120 if dtype == "u8" else 0] * 6, 1)
        net.outputs(net.op("QUANTIZE", [net.input("f32", (4, 6))], (dtype, q, (4, 6)), "QuantizeOptions"))
    return make


def dequantized_bytes(net):
    """DEQUANTIZE of bytes with one scale for each column."""
    scales = net.rng.uniform(0.01, 0.1, 6)
    source = net.input("i8", (4, 6), (scales, [0] * 6, 1))
    net.outputs(net.op("DEQUANTIZE", [source], ("f32", None), "DequantizeOptions"))


def moved(code, dtype, options=None, shape=SHAPE, consts=(), several=False, result=(1,), **fields):
    """An operator that moves elements."""
    def make(net):
        value = narrow(net, dtype, shape)
        parts = [value, narrow(net, dtype, several)] if several else [value]
        out = net.op(code, parts + [net.const(c, "i32") for c in consts], (dtype, None, result), options, **fields)
        net.outputs(converted(net, out, dtype, "f32"), out)
    return make


def models():
    """Pairs of name and maker."""
    for dtype in ("i4", "u4", "i2"):
        yield f"cast_f32_{dtype}_f32", there_and_back(dtype)
        yield f"dequantize_{dtype}", dequantized(dtype)
    yield "dequantize_i4_channel", dequantized("i4", 5)
    for dtype in ("i8", "u8", "i16"):
        yield f"quantize_f32_{dtype}_channel", quantized_channels(dtype)
    yield "dequantize_i8_channel", dequantized_bytes
    yield "transpose_i4", moved("TRANSPOSE", "i4", "TransposeOptions", consts=([1, 0],))
    yield "transpose_u4", moved("TRANSPOSE", "u4", "TransposeOptions", (2, 3, 3), ([2, 0, 1],))
    yield "slice_i4", moved("SLICE", "i4", "SliceOptions", consts=([1, 1], [2, 3]), result=(2, 3))
    yield "gather_i4", moved("GATHER", "i4", "GatherOptions", (4, 6), ([2, 0, 3],), axis=0)
    yield "concatenation_i4", moved("CONCATENATION", "i4", "ConcatenationOptions", several=(3, 2), axis=1)
    yield "dynamic_update_slice_i4", moved("DYNAMIC_UPDATE_SLICE", "i4", consts=([1, 2],), several=(2, 3))
    yield "reshape_i4", moved("RESHAPE", "i4", "ReshapeOptions", consts=([5, 3],), newShape=[5, 3])
