"""Models of quantised operators: dynamic range, 16-bit activations, small and blockwise weights, weights that are no constants."""
import numpy as np

from layers import INPUTS, act, conv, depthwise, quant, x
from linear import matmul, one, one_transposed
from net import VALID, fit, schema
from pointwise import reduce, unary


def small_weights(bits, shape, source="f32", result=None, layer="FULLY_CONNECTED", axis=0, **fields):
    """A layer with weights of 4 or 8 bits per channel and no more than a bias around it."""
    options = {"FULLY_CONNECTED": "FullyConnectedOptions", "CONV_2D": "Conv2DOptions"}[layer]
    def make(net):
        (activations, filters), channels = shape, shape[1][axis]
        fan_in = int(np.prod(filters)) // channels
        limit = 2 ** (bits - 1) - 1
        scales = net.rng.uniform(0.4, 1.6, channels) / (limit * fan_in ** 0.5)
        w = net.const(net.rng.integers(-limit, limit + 1, filters), f"i{bits}", (scales, [0] * channels, axis))
        inputs = [x(net, activations, source), w]
        if source == "f32":
            b = net.const(net.rng.normal(0, 0.5, channels), "f32")
        else:
            wide = "i64" if (source, layer) == ("i16", "CONV_2D") else "i32"
            b = net.const(net.rng.integers(-900, 900, channels), wide, (scales * INPUTS[source][0][0], [0] * channels, 0))
        net.outputs(net.op(layer, inputs + [b], (source, result), options, **fields))
    return make


def no_scale(code, dtype):
    """An operator whose first operand has scale 0, as converters declare what is 0 throughout."""
    def make(net):
        nothing = net.input(dtype, (3, 20), (0.0, 0))
        if code == "FULLY_CONNECTED":
            w = net.const(net.rng.integers(-127, 128, (11, 20)), "i8", (0.01, 0))
            net.outputs(net.op(code, [nothing, w, -1], (dtype, (0.01, 0)), "FullyConnectedOptions"))
        else:
            net.outputs(net.op(code, [nothing, x(net, (3, 20), dtype)], (dtype, quant(dtype)), "MulOptions"))
    return make


def in_blocks(net, rows, columns, size=32):
    """A constant of 4 bits that has a float16 scale for each `size` elements of a row."""
    scales = net.const(net.rng.uniform(0.01, 0.05, (rows, columns // size)), "f16")
    w = net.const(net.rng.integers(-7, 8, (rows, columns)), "i4")
    details = schema.BlockwiseQuantizationT()
    details.scales, details.zeroPoints, details.blockSize = scales, -1, size
    q = schema.QuantizationParametersT()
    q.detailsType, q.details = schema.QuantizationDetails.BlockwiseQuantization, details
    net.it.tensors[w].quantization = q
    return w


def dense_blocks(net):
    """FULLY_CONNECTED with f32 activations and 4-bit weights that have a float16 scale for each 32 inputs."""
    outputs, inputs = 11, 96
    w = in_blocks(net, outputs, inputs)
    b = net.const(net.rng.normal(0, 0.5, outputs), "f32")
    net.outputs(net.op("FULLY_CONNECTED", [x(net, (5, inputs)), w, b], ("f32", None), "FullyConnectedOptions", fusedActivationFunction=1))


def dense_computed(dtype, shape, zero):
    """FULLY_CONNECTED whose quantised weights are an input."""
    def make(net):
        rows, outputs, inputs = shape
        w = net.input(dtype, (outputs, inputs), (0.011, zero))
        scale = INPUTS[dtype][0][0] * 0.011 * 74 * 74 * inputs ** 0.5 / 50
        source = x(net, (rows, inputs), dtype)
        net.outputs(net.op("FULLY_CONNECTED", [source, w, -1], (dtype, (scale, quant(dtype)[1])), "FullyConnectedOptions"))
    return make


def conv_computed(dtype, shape, cout, **fields):
    """CONV_2D whose weights are an input; they have no zero point."""
    def make(net):
        cin, k = shape[-1], (3, 2)
        q = None if dtype == "f32" else (0.011, 0)
        w = net.input(dtype, (cout, *k, cin), q)
        b = net.const(net.rng.normal(0, 1, cout), "f32")
        result = None
        if dtype != "f32":
            product = INPUTS[dtype][0][0] * 0.011
            b = net.const(net.rng.integers(-4000, 4000, cout), "i32", (product, 0))
            result = (product * 74 * 74 * (6 * cin) ** 0.5 / 50, quant(dtype)[1])
        options = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1} | fields
        net.outputs(net.op("CONV_2D", [x(net, shape, dtype), w, b], (dtype, result), "Conv2DOptions", **options))
    return make


def computed(scheme, layer, groups=1, weights_computed=True):
    """A layer whose weights, and bias if it is the only one, are inputs. Layers are CONV_2D, DEPTHWISE_CONV_2D and TRANSPOSE_CONV."""
    def make(net):
        cin, cout = 8, 8 if layer == "DEPTHWISE_CONV_2D" else 6
        a = act(scheme)
        shape = {"DEPTHWISE_CONV_2D": (1, 3, 3, cout), "CONV_2D": (cout, 3, 2, cin // groups), "TRANSPOSE_CONV": (cout, 3, 3, cin)}[layer]
        kind = "f32" if scheme == "f32" else "u8" if scheme == "u8" else "i8"
        axis = 3 if layer == "DEPTHWISE_CONV_2D" else 0
        channels = scheme in ("i8c", "hybridc")
        scales = net.rng.uniform(0.005, 0.02, cout) if channels else np.float64(0.011)
        q = None if kind == "f32" else (scales, [0] * cout, axis) if channels else (0.011, 127 if kind == "u8" else 0)
        values = net.rng.integers(0, 256, shape) if kind == "u8" else net.rng.integers(-127, 128, shape)
        w = net.input(kind, shape, q) if weights_computed else net.const(values, kind, q)
        result = None
        if a == "f32":
            b = net.const(net.rng.normal(0, 1, cout), "f32")
        else:
            product = INPUTS[a][0][0] * scales
            bq = (product, [0] * cout, 0) if channels else (product, 0)
            wide = "i64" if a == "i16" else "i32"
            b = net.const(net.rng.integers(-4000, 4000, cout), wide, bq) if weights_computed else net.input(wide, (cout,), bq)
            result = (float(np.mean(product)) * 74 * (74 if a != "i16" else 19000) * 60 ** 0.5 / (50 if a != "i16" else 12000), quant(a)[1])
        source = x(net, (2, 6, 5, cin), a)
        if layer == "TRANSPOSE_CONV":
            parts = [net.const([2, 12, 10, cout], "i32"), w, source, b]
            return net.outputs(net.op(layer, parts, (a, result), "TransposeConvOptions", strideH=2, strideW=2))
        fields = {"strideH": 1, "strideW": 2, "dilationHFactor": 1, "dilationWFactor": 1}
        if layer == "DEPTHWISE_CONV_2D":
            return net.outputs(net.op(layer, [source, w, b], (a, result), "DepthwiseConv2DOptions", depthMultiplier=1, **fields | {"strideW": 1}))
        net.outputs(net.op(layer, [source, w, b], (a, result), "Conv2DOptions", **fields))
    return make


def dense_shifted(net):
    """FULLY_CONNECTED of int8 whose constant weights have a zero point."""
    w = net.const(net.rng.integers(-128, 128, (13, 37)), "i8", (0.004, 9))
    b = net.const(net.rng.integers(-4000, 4000, 13), "i32", (0.0213 * 0.004, 0))
    net.outputs(net.op("FULLY_CONNECTED", [x(net, (4, 37), "i8"), w, b], ("i8", (0.04, 3)), "FullyConnectedOptions"))


def conv_of_negative_scales(net):
    """CONV_2D of int8 with some scales below zero, which XNNPACK refuses for all channels."""
    scales = net.rng.uniform(0.4, 1.6, 9) / 400 * np.where(np.arange(9) % 3 == 1, -1, 1)
    w = net.const(net.rng.integers(-127, 128, (9, 3, 3, 5)), "i8", (scales, [0] * 9, 0))
    b = net.const(net.rng.integers(-4000, 4000, 9), "i32", (scales * 0.0213, [0] * 9, 0))
    net.outputs(net.op("CONV_2D", [x(net, (2, 8, 7, 5), "i8"), w, b], ("i8", (0.052, 4)), "Conv2DOptions", strideH=1, strideW=1,
                       dilationHFactor=1, dilationWFactor=1))


def matmul_by_columns(left, turned=False):
    """BATCH_MATMUL with a constant right side that has a scale for each column."""
    def make(net):
        shape, axis = ((1, 9, 22), 1) if turned else ((1, 22, 9), 2)
        b = net.const(net.rng.integers(-127, 128, shape), "i8", (net.rng.uniform(0.005, 0.02, 9), [0] * 9, axis))
        result = (left, quant(left)) if left != "f32" else ("f32", None)
        net.outputs(net.op("BATCH_MATMUL", [x(net, (2, 5, 22), left), b], result, "BatchMatMulOptions", adjX=False, adjY=turned))
    return make


def matmul_of(left, right, shapes, constant=False, result=None, q=None, **options):
    """BATCH_MATMUL of two types."""
    def make(net):
        a = x(net, shapes[0], left)
        depth = shapes[0][-2] if options.get("adjX") else shapes[0][-1]
        scale = {"i8": 0.0151, "i16": 0.75 / 8192}[right]
        if constant:
            b = net.const(net.rng.integers(-127, 128, shapes[1]), right, (scale, 0))
        else:
            b = net.input(right, shapes[1], (scale, 0))
        fitting = None
        if left == "i16":
            spread = {"i8": 74, "i16": 18918}[right]
            fitting = (INPUTS["i16"][0][0] * scale * 18918 * spread * depth ** 0.5 / 12000, 0)
        net.outputs(net.op("BATCH_MATMUL", [a, b], (result or left, q or fitting), "BatchMatMulOptions", **options))
    return make


def embedding(dtype, per_row=True):
    """EMBEDDING_LOOKUP in a quantised table, to floats."""
    def make(net):
        limit = {"i8": 127, "i4": 7}[dtype]
        scales = net.rng.uniform(0.01, 0.2, 12)
        q = (scales, [0] * 12, 0) if per_row else (0.05, 0)
        table = net.const(net.rng.integers(-limit, limit + 1, (12, 10)), dtype, q)
        rows = net.const([3, 0, 11, 3, 7], "i32")
        index = net.op("ADD", [rows, net.input("i32", (5,))], ("i32", None), "AddOptions")
        index = net.op("FLOOR_MOD", [index, net.const(12, "i32")], ("i32", None), "FloorModOptions")
        net.outputs(net.op("EMBEDDING_LOOKUP", [index, table], ("f32", None)))
    return make


def embedding_blocks(net):
    """EMBEDDING_LOOKUP in a table of 4 bits that has a float16 scale for each 32 elements of a row."""
    index = net.op("FLOOR_MOD", [net.input("i32", (7,)), net.const(12, "i32")], ("i32", None), "FloorModOptions")
    net.outputs(net.op("EMBEDDING_LOOKUP", [index, in_blocks(net, 12, 96)], ("f32", None)))


def dense_unsigned(net, asymmetric=False, bias=True, activation=0):
    """FULLY_CONNECTED of floats whose bytes of weights are called unsigned, as old converters did, and are signed."""
    signed = net.rng.integers(-127, 128, (13, 37)).astype(np.int8)
    w = net.const(signed.view(np.uint8), "u8", (0.004, 0))
    b = net.const(net.rng.normal(0, 0.5, 13), "f32") if bias else -1
    net.outputs(net.op("FULLY_CONNECTED", [x(net, (4, 37)), w, b], ("f32", None), "FullyConnectedOptions", asymmetricQuantizeInputs=asymmetric,
                       fusedActivationFunction=activation))


def models():
    """Pairs of name and maker."""
    yield "conv_hybrid_1x1_batch2", one(conv, (2, 5, 3, 13), "hybridc", cout=17, k=(1, 1))
    yield "conv_hybrid_s2_valid", one(conv, (1, 10, 9, 5), "hybridc", cout=12, stride=(2, 2), padding=VALID, activation="relu")
    yield "conv_hybrid_dilated_batch3", one(conv, (3, 9, 8, 3), "hybridc", cout=7, dilation=(2, 2))
    yield "conv_hybrid_groups2", one(conv, (2, 7, 6, 8), "hybridc", cout=12, groups=2)
    yield "conv_hybrid_i4", small_weights(4, ((2, 6, 5, 8), (10, 3, 3, 8)), layer="CONV_2D", strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1)
    yield "depthwise_hybrid_multiplier2_s2_batch2", one(depthwise, (2, 9, 8, 5), "hybridc", multiplier=2, stride=(2, 2), activation="relu6")
    yield "depthwise_hybrid_5x5_valid", one(depthwise, (1, 9, 8, 18), "hybridc", k=(5, 5), padding=VALID)
    yield "transpose_conv_hybrid_batch2", one_transposed((2, 4, 5, 6), 7, "hybridc")
    yield "transpose_conv_i16c", one_transposed((1, 4, 5, 6), 7, "i16c")
    yield "transpose_conv_i8c_computed_size", one_transposed((2, 14, 15, 7), 7, "i8c", computed=True)
    yield "conv_i8c_negative_scales", conv_of_negative_scales
    yield "conv_i16c_1x1", one(conv, (1, 6, 5, 21), "i16c", cout=9, k=(1, 1), activation="relu")
    yield "conv_i16c_s2_valid_batch2", one(conv, (2, 9, 8, 4), "i16c", cout=6, stride=(2, 2), padding=VALID)
    yield "depthwise_i16c_multiplier2", one(depthwise, (1, 6, 7, 5), "i16c", multiplier=2)
    yield "dense_hybrid_i4_wide", small_weights(4, ((3, 130), (40, 130)))
    yield "dense_i8_i4", small_weights(4, ((3, 34), (12, 34)), "i8", (0.02, 3))
    yield "dense_hybrid_blockwise_i4", dense_blocks
    yield "embedding_blockwise_i4", embedding_blocks
    yield "dense_i8_computed_weights", dense_computed("i8", (3, 37, 21), 0)
    yield "dense_u8_computed_weights", dense_computed("u8", (5, 9, 34), 120)
    yield "dense_i8_weights_with_zero_point", dense_shifted
    yield "conv_f32_computed_weights", conv_computed("f32", (2, 6, 7, 5), 9)
    yield "conv_f32_computed_weights_s2_valid", conv_computed("f32", (1, 8, 7, 3), 18, strideH=2, strideW=2, padding=VALID, fusedActivationFunction=1)
    yield "conv_i8_computed_weights", conv_computed("i8", (2, 6, 7, 5), 9, dilationHFactor=2)
    for scheme in ("f32", "i8c", "u8", "i16", "hybridc"):
        yield f"depthwise_{scheme}_computed_weights", computed(scheme, "DEPTHWISE_CONV_2D")
    for scheme in ("f32", "i8", "hybridc"):
        yield f"conv_{scheme}_groups2_computed_weights", computed(scheme, "CONV_2D", 2)
    for scheme in ("f32", "i8", "i16"):
        yield f"transpose_conv_{scheme}_computed_weights", computed(scheme, "TRANSPOSE_CONV")
    yield "conv_i8c_computed_bias", computed("i8c", "CONV_2D", weights_computed=False)
    window = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    yield "conv_hybrid_i4_3x3", small_weights(4, ((2, 6, 5, 7), (9, 3, 3, 7)), layer="CONV_2D", **window)
    yield "conv_hybrid_i4_1x1", small_weights(4, ((2, 6, 5, 21), (9, 1, 1, 21)), layer="CONV_2D", **window)
    yield "dense_hybrid_i4_odd", small_weights(4, ((5, 33), (18, 33)))
    yield "dense_hybrid_i4_odd_asymmetric", small_weights(4, ((5, 33), (18, 33)), asymmetricQuantizeInputs=True)
    yield "conv_i16_i4", small_weights(4, ((2, 6, 5, 8), (10, 3, 3, 8)), "i16", (0.002, 0), "CONV_2D", strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1)
    yield "batch_matmul_hybrid_columns", matmul_by_columns("f32")
    yield "batch_matmul_hybrid_columns_adjoint", matmul_by_columns("f32", True)
    yield "batch_matmul_i8_columns", matmul_by_columns("i8")
    yield "batch_matmul_hybrid", matmul_of("f32", "i8", ((2, 5, 22), (22, 17)), constant=True)
    yield "batch_matmul_hybrid_adjoint", matmul_of("f32", "i8", ((3, 22, 5), (3, 17, 22)), constant=True, adjX=True, adjY=True)
    yield "batch_matmul_hybrid_computed", matmul_of("f32", "i8", ((2, 5, 22), (2, 22, 17)))
    yield "batch_matmul_hybrid_computed_adjoint", matmul_of("f32", "i8", ((3, 22, 5), (3, 17, 22)), adjX=True, adjY=True)
    yield "batch_matmul_hybrid_computed_asymmetric", matmul_of("f32", "i8", ((3, 5, 22), (22, 9)), asymmetricQuantizeInputs=True)
    yield "dense_hybrid_u8", dense_unsigned
    yield "dense_hybrid_u8_asymmetric", lambda net: dense_unsigned(net, True, activation=1)
    yield "dense_hybrid_u8_without_bias", lambda net: dense_unsigned(net, bias=False)
    yield "batch_matmul_i8_odd", matmul((2, 3, 4, 37), (2, 1, 37, 35), "i8")
    yield "batch_matmul_i8_adjoint_x", matmul((3, 6, 5), (3, 6, 7), "i8", adjX=True)
    yield "batch_matmul_i16", matmul_of("i16", "i16", ((2, 5, 23), (2, 23, 6)))
    yield "batch_matmul_i16_adjoint_y", matmul_of("i16", "i16", ((2, 5, 23), (2, 6, 23)), adjY=True)
    yield "batch_matmul_i16_i8", matmul_of("i16", "i8", ((2, 5, 23), (23, 6)), constant=True)
    yield "batch_matmul_i8_i32", matmul_of("i8", "i8", ((2, 5, 23), (2, 23, 6)), result="i32")
    yield "embedding_lookup_i8_rows", embedding("i8")
    yield "embedding_lookup_i8", embedding("i8", per_row=False)
    yield "embedding_lookup_i4_rows", embedding("i4")
    yield "dense_i16_no_scale", no_scale("FULLY_CONNECTED", "i16")
    yield "mul_i8_no_scale", no_scale("MUL", "i8")
    yield "mul_i16_no_scale", no_scale("MUL", "i16")
    yield "exp_i16", unary("EXP", (3, 70), "i16", source=(1 / 16384, 0), q=(8 / 32768, 0))
    yield "gelu_i16", unary("GELU", (3, 70), "i16", q=fit("i16", -6, 6), options="GeluOptions", approximate=False)
    yield "leaky_relu_i16", unary("LEAKY_RELU", (3, 70), "i16", q=fit("i16", -6, 6), options="LeakyReluOptions", alpha=0.2)
    yield "logistic_i16_any_scale", unary("LOGISTIC", (3, 70), "i16", source=(0.00021, 0), q=(1 / 32768, 0))
    yield "tanh_i16_any_scale", unary("TANH", (3, 70), "i16", source=(0.00021, 0), q=(1 / 32768, 0))
    yield "relu_i16", unary("RELU", (3, 70), "i16", q=fit("i16", -6, 6))
    yield "softmax_i16_rows_of_one", unary("SOFTMAX", (6, 1), "i16", q=(1 / 32768, 0), options="SoftmaxOptions", beta=1.0)
    yield "softmax_i8_i16", unary("SOFTMAX", (3, 35), "i8", result="i16", q=(1 / 32768, 0), options="SoftmaxOptions", beta=1.0)
    yield "reduce_prod_i8", reduce("REDUCE_PROD", (4, 5, 6), [1], "i8", q=(0.05, 3))
    yield "reduce_prod_i8_outer", reduce("REDUCE_PROD", (3, 4, 2), [0, 2], "i8", q=(0.05, 3))
    yield "reduce_prod_i16", reduce("REDUCE_PROD", (4, 7), [1], "i16", q=(0.001, 0), keep=True)
    yield "reduce_max_u8", reduce("REDUCE_MAX", (4, 5, 6), [1], "u8", q=quant("u8"))
    yield "mean_i16", reduce("MEAN", (2, 5, 4, 6), [1, 2], "i16", q=fit("i16", -3, 3))
    yield "sum_i16", reduce("SUM", (4, 7), [1], "i16", q=fit("i16", -20, 20))
