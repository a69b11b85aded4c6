"""Models of elementwise operators, reductions and normalisations."""
import numpy as np

from layers import INPUTS, add, quant, x
from net import ACTIVATIONS, DTYPES, fit

FUSED = {"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions", "DIV": "DivOptions"}
BINARY = FUSED | {
    "MAXIMUM": "MaximumMinimumOptions", "MINIMUM": "MaximumMinimumOptions", "SQUARED_DIFFERENCE": "SquaredDifferenceOptions",
    "FLOOR_DIV": "FloorDivOptions", "FLOOR_MOD": "FloorModOptions", "POW": "PowOptions", "ATAN2": "ATan2Options",
    "EQUAL": "EqualOptions", "NOT_EQUAL": "NotEqualOptions", "LESS": "LessOptions", "LESS_EQUAL": "LessEqualOptions",
    "GREATER": "GreaterOptions", "GREATER_EQUAL": "GreaterEqualOptions", "LOGICAL_AND": "LogicalAndOptions", "LOGICAL_OR": "LogicalOrOptions",
    "BITWISE_XOR": "BitwiseXorOptions", "RIGHT_SHIFT": "RightShiftOptions",
}
UNARY = {"ABS": "AbsOptions", "NEG": "NegOptions", "EXP": "ExpOptions", "COS": "CosOptions", "SQUARE": "SquareOptions", "SIGN": "SignOptions",
         "HARD_SWISH": "HardSwishOptions", "LOGICAL_NOT": "LogicalNotOptions", "QUANTIZE": "QuantizeOptions", "DEQUANTIZE": "DequantizeOptions"}


def binary(code, a, b, dtype="f32", result=None, q=None, constant=None, **options):
    """A binary operator; `constant` gives the second operand's values as a function of the generator."""
    def make(net):
        left = x(net, a, dtype)
        right = x(net, b, dtype, 1) if constant is None else net.const(constant(net.rng, b), dtype, quant(dtype, 1))
        fields = {"fusedActivationFunction": ACTIVATIONS[options.get("activation", "none")]} if code in FUSED else {}
        net.outputs(net.op(code, [left, right], (result or dtype, q), BINARY[code], **fields))
    return make


def unary(code, shape=(2, 5, 7), dtype="f32", result=None, q=None, source=None, options=None, square=False, **fields):
    """A unary operator; `square` makes its argument positive first, `source` is the input's quantisation."""
    def make(net):
        value = net.input(dtype, shape, source or quant(dtype))
        if square:
            value = net.op("SQUARE", [value], ("f32", None), "SquareOptions")
        net.outputs(net.op(code, [value], (result or dtype, q), options or UNARY.get(code), **fields))
    return make


def scaled(code, factor, shape=(3, 67)):
    """A unary operator on a wider range: the input is multiplied by `factor` first."""
    def make(net):
        wide = add(net, x(net, shape), net.const(np.float32(factor), "f32"), "MUL", "MulOptions")
        net.outputs(net.op(code, [wide], ("f32", None), UNARY.get(code)))
    return make


def reduce(code, shape, axes, dtype="f32", keep=False, q=None):
    def make(net):
        net.outputs(net.op(code, [x(net, shape, dtype), net.const(axes, "i32")], (dtype, q), "ReducerOptions", keepDims=keep))
    return make


def arg(code, shape, axis, dtype="f32"):
    def make(net):
        name = "ArgMaxOptions" if code == "ARG_MAX" else "ArgMinOptions"
        net.outputs(net.op(code, [x(net, shape, dtype), net.const(axis, "i32")], ("i32", None), name, outputType=DTYPES["i32"][0]))
    return make


def prelu(shape, alpha_shape, dtype="f32"):
    def make(net):
        if dtype == "f32":
            alpha, q = net.const(net.rng.uniform(-0.2, 0.6, alpha_shape), "f32"), None
        else:
            slopes = "i8" if dtype == "i16" else dtype
            alpha, q = net.const(net.rng.integers(-60, 127, alpha_shape), slopes, (0.006, 0)), fit(dtype, -1.5, 3)
        net.outputs(net.op("PRELU", [x(net, shape, dtype), alpha], (dtype, q)))
    return make


def cast(source, target, shape=(3, 11)):
    """CAST; floats that become integers are first made larger than one."""
    def make(net):
        value = net.input(source, shape)
        if (source, target) == ("f32", "i32"):
            value = add(net, value, net.const(np.float32(9), "f32"), "MUL", "MulOptions")
        net.outputs(net.op("CAST", [value], (target, None), "CastOptions", inDataType=DTYPES[source][0], outDataType=DTYPES[target][0]))
    return make


def select(code, condition, a, b, dtype="f32"):
    def make(net):
        q = quant(dtype)
        parts = [net.input("bool", condition), net.input(dtype, a, q), net.input(dtype, b, q)]
        net.outputs(net.op(code, parts, (dtype, q), "SelectOptions" if code == "SELECT" else "SelectV2Options"))
    return make


def positive(rng, shape):
    return rng.uniform(0.5, 2.5, shape)


def whole(rng, shape):
    return rng.integers(1, 5, shape)


def models():
    """Pairs of name and maker."""
    shape = (1, 5, 6, 7)
    for code in ("ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE"):
        yield f"{code.lower()}_f32_channel", binary(code, shape, (7,))
    yield "div_f32_constant", binary("DIV", shape, (6, 1), constant=positive)
    yield "div_f32_by_zero", binary("DIV", (4, 70), (4, 70))
    yield "add_f32_same_relu", binary("ADD", (2, 3, 19), (2, 3, 19), activation="relu")
    yield "add_f32_scalar_constant", binary("ADD", (3, 37), (), constant=positive)
    yield "mul_f32_outer_relu6", binary("MUL", (4, 1, 6, 1), (1, 5, 1, 7), activation="relu6")
    yield "sub_f32_lower_rank_first", binary("SUB", (5, 1), (3, 1, 8))
    yield "add_f32_5d", binary("ADD", (2, 3, 2, 1, 5), (2, 1, 2, 4, 5))
    yield "pow_f32", binary("POW", (3, 21), (3, 21), constant=whole)
    yield "floor_div_f32", binary("FLOOR_DIV", (3, 21), (21,), constant=positive)
    yield "floor_mod_f32", binary("FLOOR_MOD", (3, 21), (21,), constant=positive)
    yield "atan2_f32", binary("ATAN2", (3, 21), (3, 21))
    for code in ("ADD", "SUB", "MUL", "MAXIMUM"):
        yield f"{code.lower()}_i32", binary(code, (4, 9), (9,), "i32")
    for code in ("FLOOR_DIV", "FLOOR_MOD", "DIV", "RIGHT_SHIFT"):
        yield f"{code.lower()}_i32_constant", binary(code, (4, 9), (9,), "i32", constant=whole)
    yield "bitwise_xor_i32", binary("BITWISE_XOR", (4, 9), (4, 9), "i32")
    yield "add_i64", binary("ADD", (4, 9), (4, 9), "i64")
    for code in ("EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL"):
        yield f"{code.lower()}_f32", binary(code, (8, 40), (40,), result="bool")
    yield "equal_i32", binary("EQUAL", (4, 9), (4, 9), "i32", result="bool")
    yield "less_i8", binary("LESS", (4, 40), (4, 40), "i8", result="bool")
    yield "logical_and", binary("LOGICAL_AND", (4, 9), (9,), "bool")
    yield "logical_or", binary("LOGICAL_OR", (4, 9), (9,), "bool")
    yield "logical_not", unary("LOGICAL_NOT", (4, 9), "bool")
    yield "select_f32", select("SELECT", (3, 17), (3, 17), (3, 17))
    yield "select_v2_f32_broadcast", select("SELECT_V2", (3, 1), (3, 17), (17,))
    yield "select_v2_f64_broadcast", select("SELECT_V2", (3, 1), (3, 17), (17,), "f64")
    yield "select_f64_rows", select("SELECT", (3,), (3, 7), (3, 7), "f64")
    yield "select_v2_i8", select("SELECT_V2", (3, 17), (3, 17), (3, 17), "i8")

    yield "add_i8", binary("ADD", shape, shape, "i8", q=fit("i8", -4, 4))
    yield "add_i8_channel_relu", binary("ADD", shape, (7,), "i8", q=fit("i8", -1, 4), activation="relu")
    yield "add_i8_constant", binary("ADD", (3, 35), (35,), "i8", q=fit("i8", -4, 5), constant=lambda r, s: r.integers(-128, 128, s))
    yield "add_u8", binary("ADD", shape, shape, "u8", q=fit("u8", -4, 4))
    yield "add_i16", binary("ADD", shape, shape, "i16", q=fit("i16", -8, 8))
    yield "sub_i8", binary("SUB", shape, shape, "i8", q=fit("i8", -4, 4))
    yield "sub_u8_channel", binary("SUB", shape, (7,), "u8", q=fit("u8", -4, 4))
    yield "mul_i8", binary("MUL", shape, shape, "i8", q=fit("i8", -3, 4))
    yield "mul_i8_squeeze_excite", binary("MUL", shape, (1, 1, 1, 7), "i8", q=fit("i8", -3, 4), activation="relu6")
    yield "mul_u8", binary("MUL", shape, shape, "u8", q=fit("u8", -3, 4))
    yield "mul_i16", binary("MUL", shape, shape, "i16", q=fit("i16", -10, 10))
    yield "squared_difference_i8", binary("SQUARED_DIFFERENCE", shape, shape, "i8", q=fit("i8", 0, 12))

    for code in ("ABS", "NEG", "SQUARE", "SIGN", "FLOOR", "CEIL", "RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1"):
        yield f"{code.lower()}_f32", scaled(code, 8, (2, 37))
    for code, factor in (("EXP", 12), ("SIN", 9), ("COS", 9), ("TANH", 6), ("LOGISTIC", 12), ("ELU", 5), ("HARD_SWISH", 5), ("ROUND", 10)):
        yield f"{code.lower()}_f32", scaled(code, factor)
    for code in ("LOG", "SQRT", "RSQRT"):
        yield f"{code.lower()}_f32", unary(code, (3, 67), square=True)
    yield "gelu_f32", unary("GELU", (3, 67), options="GeluOptions")
    yield "gelu_f32_approximate", unary("GELU", (3, 67), options="GeluOptions", approximate=True)
    yield "leaky_relu_f32", unary("LEAKY_RELU", options="LeakyReluOptions", alpha=0.1)
    yield "prelu_f32_channel", prelu((1, 5, 6, 7), (1, 1, 7))
    yield "prelu_f32_full", prelu((2, 3, 5), (3, 5))
    yield "prelu_i8_channel", prelu((1, 5, 6, 7), (1, 1, 7), "i8")
    for dtype, near, unit in (("i8", (1 / 128, 0), (1 / 256, -128)), ("u8", (1 / 128, 128), (1 / 256, 0)), ("i16", (1 / 32768, 0), (1 / 32768, 0))):
        wide = {"i8": (0.05, 3), "u8": (0.05, 131), "i16": (1 / 4096, 0)}[dtype]
        yield f"tanh_{dtype}", unary("TANH", (2, 130), dtype, q=near, source=wide)
        yield f"logistic_{dtype}", unary("LOGISTIC", (2, 130), dtype, q=unit, source=wide)
    yield "hard_swish_i8", unary("HARD_SWISH", (2, 130), "i8", q=fit("i8", -0.4, 6), source=(0.05, 3))
    yield "hard_swish_u8", unary("HARD_SWISH", (2, 130), "u8", q=fit("u8", -0.4, 6), source=(0.05, 131))
    yield "leaky_relu_i8", unary("LEAKY_RELU", (2, 130), "i8", q=fit("i8", -0.4, 3), source=(0.03, 3), options="LeakyReluOptions", alpha=0.1)
    yield "elu_i8", unary("ELU", (2, 130), "i8", q=fit("i8", -1, 3), source=(0.03, 3))
    yield "gelu_i8", unary("GELU", (2, 130), "i8", q=fit("i8", -0.3, 3), source=(0.03, 3), options="GeluOptions")
    yield "abs_i8", unary("ABS", (2, 130), "i8", q=fit("i8", 0, 4), source=(0.03, 3))
    yield "exp_i8", unary("EXP", (2, 130), "i8", q=fit("i8", 0, 5), source=(0.015, 3))
    yield "rsqrt_i8", unary("RSQRT", (2, 130), "i8", q=fit("i8", 0, 4), source=(0.05, -128))
    yield "relu_i8", unary("RELU", (2, 130), "i8", q=fit("i8", 0, 3), source=(0.03, 3))
    yield "relu6_u8", unary("RELU6", (2, 130), "u8", q=fit("u8", 0, 6), source=(0.06, 120))
    yield "quantize_f32_i8", unary("QUANTIZE", (2, 70), result="i8", q=(0.0083, 5))
    yield "quantize_f32_u8", unary("QUANTIZE", (2, 70), result="u8", q=(0.0083, 125))
    yield "quantize_i8_i8", unary("QUANTIZE", (2, 130), "i8", q=(0.031, 9))
    yield "quantize_u8_i8", unary("QUANTIZE", (2, 130), "u8", result="i8", q=(0.0213, -7))
    yield "quantize_i16_i8", unary("QUANTIZE", (2, 130), "i16", result="i8", q=(0.04, 0))
    yield "dequantize_i8", unary("DEQUANTIZE", (2, 130), "i8", result="f32")
    yield "dequantize_u8", unary("DEQUANTIZE", (2, 130), "u8", result="f32")
    yield "dequantize_f16", unary("DEQUANTIZE", (2, 40), "f16", result="f32")
    for pair in (("f32", "i32"), ("i32", "f32"), ("i64", "i32"), ("bool", "f32"), ("u8", "f32"), ("i32", "bool"), ("f32", "f16"), ("i8", "f32")):
        yield f"cast_{pair[0]}_{pair[1]}", cast(*pair)

    yield "mean_f32_hw", reduce("MEAN", (2, 5, 6, 7), [1, 2])
    yield "mean_f32_hw_keep", reduce("MEAN", (1, 7, 7, 20), [1, 2], keep=True)
    yield "mean_f32_last", reduce("MEAN", (3, 5, 33), [-1], keep=True)
    yield "mean_i8_hw", reduce("MEAN", (2, 5, 6, 7), [1, 2], "i8", q=fit("i8", -0.6, 0.7))
    yield "mean_i8_hw_same_scale", reduce("MEAN", (1, 7, 7, 20), [1, 2], "i8", keep=True, q=INPUTS["i8"][0])
    yield "mean_u8_last", reduce("MEAN", (3, 5, 33), [2], "u8", q=fit("u8", -0.8, 0.8))
    yield "sum_f32_middle", reduce("SUM", (4, 9, 5), [1])
    yield "sum_f32_all", reduce("SUM", (4, 9, 5), [0, 1, 2])
    yield "sum_i8_last", reduce("SUM", (6, 33), [1], "i8", q=fit("i8", -12, 12))
    yield "sum_i32", reduce("SUM", (4, 9), [0], "i32")
    yield "reduce_max_f32", reduce("REDUCE_MAX", (4, 9, 5), [0, 2])
    yield "reduce_max_i8", reduce("REDUCE_MAX", (4, 9, 5), [1], "i8", q=INPUTS["i8"][0])
    yield "reduce_min_f32", reduce("REDUCE_MIN", (4, 9, 5), [2], keep=True)
    yield "reduce_prod_f32", reduce("REDUCE_PROD", (4, 6), [1])
    yield "reduce_any", reduce("REDUCE_ANY", (6, 2, 3), [1], "bool")
    yield "reduce_all", reduce("REDUCE_ALL", (8, 2), [1], "bool")
    yield "arg_max_f32", arg("ARG_MAX", (2, 5, 13), -1)
    yield "arg_max_i8_middle", arg("ARG_MAX", (2, 13, 5), 1, "i8")
    yield "arg_min_f32", arg("ARG_MIN", (5, 13), 0)

    yield "softmax_f32", unary("SOFTMAX", (3, 35), options="SoftmaxOptions", beta=1.0)
    yield "softmax_f32_4d_beta", unary("SOFTMAX", (1, 3, 4, 9), options="SoftmaxOptions", beta=2.5)
    yield "softmax_i8", unary("SOFTMAX", (3, 35), "i8", q=(1 / 256, -128), options="SoftmaxOptions", beta=1.0)
    yield "softmax_u8", unary("SOFTMAX", (3, 35), "u8", q=(1 / 256, 0), options="SoftmaxOptions", beta=1.0)
    yield "softmax_i16", unary("SOFTMAX", (3, 35), "i16", q=(1 / 32768, 0), options="SoftmaxOptions", beta=1.0)
    yield "log_softmax_f32", unary("LOG_SOFTMAX", (3, 35), options="LogSoftmaxOptions")
    yield "log_softmax_i8", unary("LOG_SOFTMAX", (3, 35), "i8", q=(16 / 256, 127), options="LogSoftmaxOptions")
    yield "l2_normalization_f32", unary("L2_NORMALIZATION", (3, 4, 11), options="L2NormOptions")
    yield "l2_normalization_i8", unary("L2_NORMALIZATION", (3, 33), "i8", q=(1 / 128, 0), source=(0.03, 0), options="L2NormOptions")
    yield "cumsum_f32", lambda net: net.outputs(net.op("CUMSUM", [x(net, (4, 7, 3)), net.const(1, "i32")], ("f32", None), "CumsumOptions", exclusive=True))
