"""Models of convolutions, matrix products and pools."""
import numpy as np

from layers import SPREAD, act, conv, dense, depthwise, pool, scale_of, transpose_conv, x
from net import DTYPES, SAME, VALID


def one(layer, shape, scheme="f32", **options):
    """A model with one layer; `layer` takes (net, source, channels in, ...)."""
    def make(net):
        source = x(net, shape, act(scheme))
        net.outputs(layer(net, source, shape[-1], scheme=scheme, **options))
    return make


def one_transposed(shape, cout, scheme="f32", **options):
    def make(net):
        net.outputs(transpose_conv(net, x(net, shape, act(scheme)), shape, cout, scheme=scheme, **options))
    return make


def one_pool(shape, dtype, code, **options):
    def make(net):
        net.outputs(pool(net, x(net, shape, dtype), code, **options))
    return make


def matmul(a, b, dtype="f32", constant=False, **options):
    """BATCH_MATMUL of shapes a and b."""
    def make(net):
        left = x(net, a, dtype)
        right = net.const(net.rng.normal(0, 1, b), "f32") if constant else x(net, b, dtype, 1)
        depth = a[-2] if options.get("adjX") else a[-1]
        q = None if dtype == "f32" else (0.0213 * 0.0151 * 74 * 74 * depth ** 0.5 / 50, 2)
        net.outputs(net.op("BATCH_MATMUL", [left, right], (dtype, q), "BatchMatMulOptions", **options))
    return make


def dense_i4(net):
    """FULLY_CONNECTED with f32 activations and 4-bit weights."""
    w = net.const(net.rng.integers(-7, 8, (24, 32)), "i4", (net.rng.uniform(0.02, 0.08, 24), [0] * 24, 0))
    b = net.const(net.rng.normal(0, 0.5, 24), "f32")
    net.outputs(net.op("FULLY_CONNECTED", [x(net, (3, 32)), w, b], ("f32", None), "FullyConnectedOptions"))


def dense_integers(dtype, kind, cin, bias="i32", channels=False, cout=19, rows=4):
    """FULLY_CONNECTED of integers with weights of another width."""
    def make(net):
        low, high, scale = {"i16": (-32767, 32768, 4e-5), "i8": (-127, 128, 0.01), "i4": (-7, 8, 0.15), "i2": (-2, 2, 0.6)}[kind]
        scales = scale * net.rng.uniform(0.5, 1.5, cout) if channels else np.array([scale])
        zeros = [0] * len(scales)
        source = x(net, (rows, cin), dtype)
        w = net.const(net.rng.integers(low, high, (cout, cin)), kind, (scales, zeros, 0))
        products = scale_of(net, source) * scales
        b = net.const(net.rng.integers(-900, 900, cout), bias, (products, zeros, 0)) if bias else -1
        spread = cin ** 0.5 * SPREAD[dtype] * high / 1.7
        result = (float(np.mean(products)) * spread / (50 if dtype == "i8" else 12000), 0)
        net.outputs(net.op("FULLY_CONNECTED", [source, w, b], (dtype, result), "FullyConnectedOptions"))
    return make


def dense_i2(channels):
    """FULLY_CONNECTED with f32 activations and 2-bit weights."""
    def make(net):
        scales = net.rng.uniform(0.2, 0.6, 12 if channels else 1)
        w = net.const(net.rng.integers(-2, 2, (12, 32)), "i2", (scales, [0] * len(scales), 0))
        net.outputs(net.op("FULLY_CONNECTED", [x(net, (3, 32)), w, -1], ("f32", None), "FullyConnectedOptions"))
    return make


def conv_hybrid_u8(net):
    """CONV_2D with f32 activations and signed weights that are called unsigned, as old converters left them."""
    signed = net.rng.integers(-127, 128, (12, 3, 3, 6)).astype(np.int8)
    w, b = net.const(signed.view(np.uint8), "u8", (0.004, 128)), net.const(net.rng.normal(0, 0.5, 12), "f32")
    net.outputs(net.op("CONV_2D", [x(net, (2, 7, 8, 6)), w, b], ("f32", None), "Conv2DOptions", padding=SAME, strideH=1, strideW=2))


def conv_i4(depthwise, channels):
    """A convolution of int8 with 4-bit weights."""
    def make(net):
        source = x(net, (1, 6, 7, 8), "i8")
        scales = 0.15 * net.rng.uniform(0.5, 1.5, 8 if channels else 1)
        q = (scales, [0] * len(scales), 3 if depthwise else 0)
        w = net.const(net.rng.integers(-7, 8, (1, 3, 3, 8) if depthwise else (8, 3, 3, 8)), "i4", q)
        products = scale_of(net, source) * scales
        b = net.const(net.rng.integers(-900, 900, 8), "i32", (products, [0] * len(scales), 0))
        spread = (9 if depthwise else 72) ** 0.5 * SPREAD["i8"] * 4
        code, options, more = ("DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions", dict(depthMultiplier=1)) if depthwise else ("CONV_2D", "Conv2DOptions", {})
        result = ("i8", (float(np.mean(products)) * spread / 50, 4))
        net.outputs(net.op(code, [source, w, b], result, options, padding=SAME, strideH=1, strideW=1, **more))
    return make


def dense_variable(net):
    """FULLY_CONNECTED whose weights are an input."""
    net.outputs(net.op("FULLY_CONNECTED", [x(net, (3, 20)), x(net, (9, 20)), -1], ("f32", None), "FullyConnectedOptions"))


def models():
    """Pairs of name and maker."""
    yield "conv_f32_3x3_same", one(conv, (1, 9, 8, 7), cout=19)
    yield "conv_f32_3x3_valid_relu", one(conv, (1, 9, 8, 4), cout=40, padding=VALID, activation="relu")
    yield "conv_f32_3x3_s2_even", one(conv, (1, 10, 12, 3), cout=16, stride=(2, 2), activation="relu6")
    yield "conv_f32_3x3_s2_odd", one(conv, (1, 11, 9, 3), cout=16, stride=(2, 2))
    yield "conv_f32_3x3_s2_valid", one(conv, (1, 11, 10, 5), cout=12, stride=(2, 2), padding=VALID)
    yield "conv_f32_5x5_s1x2", one(conv, (1, 8, 9, 5), cout=10, k=(5, 5), stride=(1, 2))
    yield "conv_f32_1x1", one(conv, (1, 7, 7, 24), cout=33, k=(1, 1), activation="relu_n1_to_1")
    yield "conv_f32_1x1_s2", one(conv, (1, 7, 8, 16), cout=24, k=(1, 1), stride=(2, 2))
    yield "conv_f32_1x1_batch2", one(conv, (2, 5, 3, 13), cout=17, k=(1, 1))
    yield "conv_f32_1x7", one(conv, (1, 6, 10, 6), cout=8, k=(1, 7))
    yield "conv_f32_7x1_valid", one(conv, (1, 10, 6, 6), cout=8, k=(7, 1), padding=VALID)
    yield "conv_f32_dilated2", one(conv, (1, 10, 9, 6), cout=10, dilation=(2, 2))
    yield "conv_f32_dilated3x2_valid", one(conv, (1, 11, 10, 6), cout=10, dilation=(3, 2), padding=VALID)
    yield "conv_f32_groups2", one(conv, (1, 7, 6, 8), cout=12, groups=2)
    yield "conv_f32_groups4_s2", one(conv, (1, 8, 7, 12), cout=16, groups=4, stride=(2, 2), activation="relu")
    yield "conv_f32_cin1", one(conv, (1, 12, 12, 1), cout=8, k=(5, 5))
    yield "conv_f32_cout1", one(conv, (1, 8, 8, 11), cout=1)
    yield "conv_f32_batch3", one(conv, (3, 5, 6, 4), cout=8)
    yield "conv_f32_filter_larger_than_input", one(conv, (1, 3, 2, 6), cout=9, k=(5, 5))
    yield "conv_f32_whole_input", one(conv, (1, 4, 4, 8), cout=20, k=(4, 4), padding=VALID)
    yield "conv_f16_weights", one(conv, (1, 7, 8, 6), "f16w", cout=12, activation="relu")
    yield "conv_hybrid", one(conv, (1, 7, 8, 6), "hybrid", cout=12)
    yield "conv_hybrid_channel", one(conv, (2, 7, 8, 6), "hybridc", cout=12, activation="relu6")
    yield "conv_i8c_3x3_same", one(conv, (1, 9, 8, 7), "i8c", cout=19)
    yield "conv_i8c_3x3_valid_relu", one(conv, (1, 9, 8, 4), "i8c", cout=40, padding=VALID, activation="relu")
    yield "conv_i8c_3x3_s2", one(conv, (1, 10, 11, 3), "i8c", cout=16, stride=(2, 2), activation="relu6")
    yield "conv_i8c_1x1", one(conv, (1, 7, 7, 24), "i8c", cout=33, k=(1, 1))
    yield "conv_i8c_1x1_s2", one(conv, (1, 7, 8, 17), "i8c", cout=24, k=(1, 1), stride=(2, 2))
    yield "conv_i8c_5x5", one(conv, (1, 8, 7, 6), "i8c", cout=10, k=(5, 5))
    yield "conv_i8c_dilated2", one(conv, (1, 10, 9, 6), "i8c", cout=10, dilation=(2, 2))
    yield "conv_i8c_groups2", one(conv, (1, 7, 6, 8), "i8c", cout=12, groups=2)
    yield "conv_i8c_batch2", one(conv, (2, 6, 5, 4), "i8c", cout=8, padding=VALID)
    yield "conv_i8_3x3", one(conv, (1, 9, 8, 9), "i8", cout=20)
    yield "conv_u8_3x3", one(conv, (1, 9, 8, 9), "u8", cout=20, activation="relu6")
    yield "conv_u8_1x1", one(conv, (1, 6, 7, 21), "u8", cout=18, k=(1, 1))
    yield "conv_u8_3x3_s2_valid", one(conv, (1, 11, 10, 3), "u8", cout=8, stride=(2, 2), padding=VALID)
    yield "conv_i16c_3x3", one(conv, (1, 7, 8, 6), "i16c", cout=12)

    yield "depthwise_f32_3x3", one(depthwise, (1, 9, 8, 19))
    yield "depthwise_f32_3x3_s2_relu6", one(depthwise, (1, 10, 11, 16), stride=(2, 2), activation="relu6")
    yield "depthwise_f32_3x3_valid", one(depthwise, (1, 9, 8, 33), padding=VALID, activation="relu")
    yield "depthwise_f32_5x5", one(depthwise, (1, 9, 8, 12), k=(5, 5))
    yield "depthwise_f32_7x7_s2", one(depthwise, (1, 12, 11, 8), k=(7, 7), stride=(2, 2))
    yield "depthwise_f32_1x5", one(depthwise, (1, 6, 9, 10), k=(1, 5))
    yield "depthwise_f32_multiplier2", one(depthwise, (1, 7, 8, 6), multiplier=2)
    yield "depthwise_f32_multiplier8_of_1", one(depthwise, (1, 9, 9, 1), multiplier=8)
    yield "depthwise_f32_dilated2", one(depthwise, (1, 10, 9, 8), dilation=(2, 2))
    yield "depthwise_f32_dilated4_small", one(depthwise, (1, 5, 5, 8), dilation=(4, 4))
    yield "depthwise_f32_batch2", one(depthwise, (2, 6, 5, 7))
    yield "depthwise_hybrid_channel", one(depthwise, (1, 7, 8, 9), "hybridc")
    yield "depthwise_i8c_3x3", one(depthwise, (1, 9, 8, 19), "i8c")
    yield "depthwise_i8c_3x3_s2_relu6", one(depthwise, (1, 10, 11, 16), "i8c", stride=(2, 2), activation="relu6")
    yield "depthwise_i8c_5x5_valid", one(depthwise, (1, 9, 10, 33), "i8c", k=(5, 5), padding=VALID)
    yield "depthwise_i8c_multiplier3", one(depthwise, (1, 7, 8, 5), "i8c", multiplier=3)
    yield "depthwise_i8c_dilated2", one(depthwise, (1, 10, 9, 8), "i8c", dilation=(2, 2), activation="relu")
    yield "depthwise_u8_3x3", one(depthwise, (1, 8, 8, 18), "u8", activation="relu")
    yield "depthwise_u8_multiplier2_s2", one(depthwise, (1, 9, 8, 6), "u8", multiplier=2, stride=(2, 2))
    yield "depthwise_i16c_3x3", one(depthwise, (1, 7, 8, 6), "i16c")

    yield "dense_f32_batch1", one(dense, (1, 67), cout=33)
    yield "dense_f32_batch5_relu", one(dense, (5, 40), cout=24, activation="relu")
    yield "dense_f32_nobias", one(dense, (3, 17), cout=9, bias=False)
    yield "dense_f32_keep_dims", one(dense, (2, 3, 16), cout=20, keep=True)
    yield "dense_f32_flatten", one(dense, (2, 3, 16), cout=10)
    yield "dense_f32_variable_weights", dense_variable
    yield "dense_f16_weights", one(dense, (2, 40), "f16w", cout=24)
    yield "dense_hybrid", one(dense, (3, 40), "hybrid", cout=24)
    yield "dense_hybrid_asymmetric", one(dense, (3, 40), "hybrid", cout=24, asymmetric=True, activation="relu")
    yield "dense_hybrid_channel", one(dense, (2, 33), "hybridc", cout=17, asymmetric=True)
    yield "dense_hybrid_i4_channel", dense_i4
    yield "dense_i8", one(dense, (1, 67), "i8", cout=33)
    yield "dense_i8_batch4_relu", one(dense, (4, 40), "i8", cout=24, activation="relu")
    yield "dense_i8c", one(dense, (3, 50), "i8c", cout=21)
    yield "dense_i8_nobias", one(dense, (2, 31), "i8", cout=16, bias=False)
    yield "dense_u8", one(dense, (3, 50), "u8", cout=21)
    yield "dense_i16c", one(dense, (2, 40), "i16c", cout=18)
    yield "dense_i16c_nobias_i64", one(dense, (64, 40), "i16c", cout=50, bias=False, quantizedBiasType=DTYPES["i64"][0])

    yield "dense_i16_i16", dense_integers("i16", "i16", 20)
    yield "dense_i16_i16_channel_nobias", dense_integers("i16", "i16", 33, None, True)
    for kind in ("i8", "i4", "i2"):
        yield f"dense_i16_{kind}_nobias", dense_integers("i16", kind, 16, None)
        yield f"dense_i16_{kind}_channel_wide_bias", dense_integers("i16", kind, 16, "i64", True)
    yield "dense_i8_i4_odd", dense_integers("i8", "i4", 17, channels=True)
    yield "dense_i8_i2", dense_integers("i8", "i2", 16)
    yield "dense_i8_i2_channel", dense_integers("i8", "i2", 16, channels=True)
    yield "dense_hybrid_i2", dense_i2(False)
    yield "dense_hybrid_i2_channel", dense_i2(True)
    yield "conv_hybrid_u8", conv_hybrid_u8
    yield "conv_i8_i4", conv_i4(False, False)
    yield "conv_i8_i4_channel", conv_i4(False, True)
    yield "depthwise_i8_i4", conv_i4(True, False)
    yield "depthwise_i8_i4_channel", conv_i4(True, True)

    yield "transpose_conv_f32_3x3_s2", one_transposed((1, 5, 4, 6), 8)
    yield "transpose_conv_f32_2x2_s2_valid", one_transposed((1, 4, 5, 7), 6, k=(2, 2), padding=VALID)
    yield "transpose_conv_f32_4x4_s2_nobias", one_transposed((1, 4, 4, 5), 9, k=(4, 4), bias=False)
    yield "transpose_conv_f32_3x3_s1", one_transposed((2, 5, 4, 3), 8, stride=(1, 1))
    yield "transpose_conv_f32_3x3_s3x2_valid", one_transposed((1, 4, 3, 6), 5, stride=(3, 2), padding=VALID)
    yield "transpose_conv_i8c_3x3_s2", one_transposed((1, 5, 4, 6), 8, "i8c")
    yield "transpose_conv_i8c_2x2_s2_valid", one_transposed((1, 4, 5, 7), 6, "i8c", k=(2, 2), padding=VALID)
    yield "transpose_conv_u8_3x3_s2", one_transposed((1, 5, 4, 6), 8, "u8")
    named = DTYPES["i32"][0]
    yield "transpose_conv_i16c_bias_i32", one_transposed((1, 14, 15, 8), 21, "i16c", bias="i32", quantizedBiasType=named)
    yield "transpose_conv_i16c_nobias_i32", one_transposed((1, 14, 15, 8), 21, "i16c", bias=False, quantizedBiasType=named)
    yield "transpose_conv_i16c_nobias", one_transposed((1, 9, 8, 12), 7, "i16c", bias=False)
    yield "batch_matmul_f32", matmul((2, 7, 12), (2, 12, 9))
    yield "batch_matmul_f32_adjoint_x", matmul((2, 12, 7), (2, 12, 9), adjX=True)
    yield "batch_matmul_f32_adjoint_y", matmul((1, 3, 6, 16), (1, 3, 5, 16), adjY=True)
    yield "batch_matmul_f32_broadcast", matmul((3, 1, 5, 8), (2, 8, 6))
    yield "batch_matmul_f32_constant", matmul((2, 6, 10), (10, 11), constant=True)
    yield "batch_matmul_i8", matmul((2, 7, 12), (2, 12, 9), "i8")
    yield "batch_matmul_i8_adjoint_y", matmul((1, 6, 16), (1, 5, 16), "i8", adjY=True)

    for dtype in ("f32", "i8", "u8"):
        yield f"average_pool_{dtype}_3x3_s2_same", one_pool((1, 9, 8, 7), dtype, "AVERAGE_POOL_2D", k=(3, 3))
        yield f"max_pool_{dtype}_3x3_s2_same", one_pool((1, 9, 8, 7), dtype, "MAX_POOL_2D", k=(3, 3))
    yield "average_pool_f32_2x2_valid_relu", one_pool((2, 7, 6, 17), "f32", "AVERAGE_POOL_2D", padding=VALID, activation="relu")
    yield "average_pool_f32_global", one_pool((1, 7, 7, 20), "f32", "AVERAGE_POOL_2D", k=(7, 7), stride=(1, 1), padding=VALID)
    yield "average_pool_i8_global", one_pool((1, 7, 7, 20), "i8", "AVERAGE_POOL_2D", k=(7, 7), stride=(1, 1), padding=VALID)
    yield "max_pool_f32_2x2_valid", one_pool((2, 7, 6, 17), "f32", "MAX_POOL_2D", padding=VALID)
    yield "max_pool_f32_3x3_s1_relu6", one_pool((1, 6, 7, 6), "f32", "MAX_POOL_2D", k=(3, 3), stride=(1, 1), activation="relu6")
    yield "max_pool_i8_2x3_s1x2_relu", one_pool((1, 6, 7, 16), "i8", "MAX_POOL_2D", k=(2, 3), stride=(1, 2), activation="relu")
    yield "average_pool_i16_2x2", one_pool((1, 6, 6, 9), "i16", "AVERAGE_POOL_2D")
    yield "l2_pool_f32_2x2", one_pool((1, 6, 7, 6), "f32", "L2_POOL_2D")
