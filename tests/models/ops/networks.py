"""Models of a few operators: what passes fuse, recurrent cells, attention, control flow, variables."""
import numpy as np

from layers import act, add, conv, dense, depthwise, pool, quant, x
from net import ACTIVATIONS, VALID, fit

ADD, MUL = ("ADD", "AddOptions"), ("MUL", "MulOptions")


def residual(scheme):
    """conv, relu, conv, plus the input, relu."""
    def make(net):
        dtype = act(scheme)
        source = x(net, (1, 7, 6, 8), dtype)
        y = conv(net, source, 8, 8, activation="relu", scheme=scheme)
        y = conv(net, y, 8, 8, scheme=scheme)
        net.outputs(add(net, y, source, q=None if dtype == "f32" else fit(dtype, 0, 6), activation="relu"))
    return make


def inverted_residual(scheme):
    """1x1 expand, depthwise, 1x1 project, plus the input."""
    def make(net):
        dtype = act(scheme)
        source = x(net, (1, 8, 7, 8), dtype)
        y = conv(net, source, 8, 24, (1, 1), activation="relu6", scheme=scheme)
        y = depthwise(net, y, 24, activation="relu6", scheme=scheme)
        y = conv(net, y, 24, 8, (1, 1), scheme=scheme)
        net.outputs(add(net, y, source, q=None if dtype == "f32" else fit(dtype, -5, 5)))
    return make


def padded_conv(scheme):
    """PAD, then a VALID convolution: the padding folds into it."""
    def make(net):
        dtype = act(scheme)
        source = x(net, (1, 8, 9, 5), dtype)
        y = net.op("PAD", [source, net.const([[0, 0], [0, 1], [0, 1], [0, 0]], "i32")], (dtype, quant(dtype)), "PadOptions")
        net.outputs(conv(net, y, 5, 12, stride=(2, 2), padding=VALID, scheme=scheme))
    return make


def squeeze_excite(net):
    """hard-swish, global mean, two dense layers, logistic, multiply."""
    y = conv(net, x(net, (1, 6, 6, 6)), 6, 16)
    y = net.op("HARD_SWISH", [y], ("f32", None), "HardSwishOptions")
    s = net.op("MEAN", [y, net.const([1, 2], "i32")], ("f32", None), "ReducerOptions", keepDims=True)
    s = conv(net, s, 16, 4, (1, 1), activation="relu")
    s = net.op("LOGISTIC", [conv(net, s, 4, 16, (1, 1))], ("f32", None))
    net.outputs(add(net, y, s, *MUL))


def branches(scheme):
    """Three branches, concatenated; a pool and a convolution follow."""
    def make(net):
        dtype = act(scheme)
        source = x(net, (1, 8, 8, 6), dtype)
        q = quant(dtype)
        parts = [conv(net, source, 6, 4, (1, 1), scheme=scheme, q=q), conv(net, source, 6, 5, scheme=scheme, q=q), pool(net, source, "MAX_POOL_2D", (3, 3), (1, 1))]
        y = net.op("CONCATENATION", parts, (dtype, q), "ConcatenationOptions", axis=3)
        y = pool(net, y, "AVERAGE_POOL_2D")
        net.outputs(conv(net, y, 15, 8, (1, 1), activation="relu", scheme=scheme))
    return make


def layer_norm(net):
    """The usual spelling of layer normalisation."""
    source = x(net, (2, 5, 32))
    last = net.const([-1], "i32")
    mean = net.op("MEAN", [source, last], ("f32", None), "ReducerOptions", keepDims=True)
    variance = net.op("SQUARED_DIFFERENCE", [source, mean], ("f32", None), "SquaredDifferenceOptions")
    variance = net.op("MEAN", [variance, last], ("f32", None), "ReducerOptions", keepDims=True)
    inverse = net.op("RSQRT", [add(net, variance, net.const(np.float32(1e-5), "f32"))], ("f32", None))
    y = add(net, add(net, source, mean, "SUB", "SubOptions"), inverse, *MUL)
    y = add(net, y, net.const(net.rng.normal(1, 0.2, 32), "f32"), *MUL)
    net.outputs(add(net, y, net.const(net.rng.normal(0, 0.2, 32), "f32")))


def attention(net):
    """Two-headed self-attention with its reshapes and transposes."""
    source = x(net, (1, 9, 16))
    heads = []
    for _ in range(3):
        y = dense(net, source, 16, 16, keep=True)
        y = net.op("RESHAPE", [y, net.const([1, 9, 2, 8], "i32")], ("f32", None), "ReshapeOptions", newShape=[1, 9, 2, 8])
        heads.append(net.op("TRANSPOSE", [y, net.const([0, 2, 1, 3], "i32")], ("f32", None), "TransposeOptions"))
    scores = net.op("BATCH_MATMUL", heads[:2], ("f32", None), "BatchMatMulOptions", adjY=True)
    scores = add(net, scores, net.const(np.float32(8 ** -0.5), "f32"), *MUL)
    scores = net.op("SOFTMAX", [scores], ("f32", None), "SoftmaxOptions", beta=1.0)
    y = net.op("BATCH_MATMUL", [scores, heads[2]], ("f32", None), "BatchMatMulOptions")
    y = net.op("TRANSPOSE", [y, net.const([0, 2, 1, 3], "i32")], ("f32", None), "TransposeOptions")
    y = net.op("RESHAPE", [y, net.const([1, 9, 16], "i32")], ("f32", None), "ReshapeOptions", newShape=[1, 9, 16])
    net.outputs(dense(net, y, 16, 16, keep=True))


def pointwise_chain(net):
    """A chain with two broadcasts and a shared value: one loop."""
    a, b = x(net, (3, 5, 21)), x(net, (5, 1))
    s = net.op("LOGISTIC", [a], ("f32", None))
    y = add(net, add(net, a, s, *MUL), b)
    y = add(net, net.op("TANH", [y], ("f32", None)), s, "SUB", "SubOptions", activation="relu")
    net.outputs(y, s)


def classifier(scheme):
    """conv, pool, reshape, dense, softmax."""
    def make(net):
        dtype = act(scheme)
        y = conv(net, x(net, (1, 8, 8, 3), dtype), 3, 8, stride=(2, 2), activation="relu", scheme=scheme)
        y = pool(net, y, "MAX_POOL_2D")
        t = net.it.tensors[y]
        q = t.quantization and (t.quantization.scale[0], t.quantization.zeroPoint[0])
        y = net.op("RESHAPE", [y, net.const([1, 32], "i32")], (dtype, q), "ReshapeOptions", newShape=[1, 32])
        y = dense(net, y, 32, 10, scheme="i8" if scheme == "i8c" else scheme)
        q = None if dtype == "f32" else {"i8": (1 / 256, -128), "u8": (1 / 256, 0)}[dtype]
        net.outputs(net.op("SOFTMAX", [y], (dtype, q), "SoftmaxOptions", beta=1.0))
    return make


def quantized_inside(net):
    """f32 in and out, int8 between."""
    source = x(net, (1, 6, 6, 4))
    y = net.op("QUANTIZE", [source], ("i8", (1 / 128, 0)), "QuantizeOptions")
    y = conv(net, y, 4, 8, activation="relu", scheme="i8c")
    net.outputs(net.op("DEQUANTIZE", [y], ("f32", None), "DequantizeOptions"))


def lstm(scheme, batch=2, steps=4, features=5, cells=6, time_major=False, peephole=False, projection=0):
    """UNIDIRECTIONAL_SEQUENCE_LSTM; its 24 inputs are in the order of the schema's kernel."""
    def make(net):
        shape = (steps, batch, features) if time_major else (batch, steps, features)
        source, out = x(net, shape), projection or cells

        def w(rows, cols):
            if scheme == "f32":
                return net.const(net.rng.normal(0, cols ** -0.5, (rows, cols)), "f32")
            return net.const(net.rng.integers(-127, 128, (rows, cols)), "i8", (0.006, 0))

        def v(n, mean=0.0):
            return net.const(net.rng.normal(mean, 0.3, n), "f32")

        parts = [source] + [w(cells, features) for _ in range(4)] + [w(cells, out) for _ in range(4)]
        parts += [v(cells) for _ in range(3)] if peephole else [-1] * 3
        parts += [v(cells), v(cells, 1.0), v(cells), v(cells)]
        parts += [w(projection, cells), v(projection)] if projection else [-1, -1]
        parts += [net.tensor("f32", (batch, out), variable=True), net.tensor("f32", (batch, cells), variable=True)]
        parts += [-1] * 4
        net.outputs(net.op("UNIDIRECTIONAL_SEQUENCE_LSTM", parts, ("f32", None), "UnidirectionalSequenceLSTMOptions",
                           fusedActivationFunction=ACTIVATIONS["tanh"], cellClip=10.0 if projection else 0.0, timeMajor=time_major))
    return make


def rnn(net):
    """UNIDIRECTIONAL_SEQUENCE_RNN."""
    parts = [x(net, (2, 4, 5)), net.const(net.rng.normal(0, 0.4, (6, 5)), "f32"), net.const(net.rng.normal(0, 0.4, (6, 6)), "f32"),
             net.const(net.rng.normal(0, 0.3, 6), "f32"), net.tensor("f32", (2, 6), variable=True)]
    net.outputs(net.op("UNIDIRECTIONAL_SEQUENCE_RNN", parts, ("f32", None), "SequenceRNNOptions", fusedActivationFunction=ACTIVATIONS["tanh"]))


def svdf(net):
    """SVDF of rank 1: a filter over features, then over time."""
    parts = [x(net, (2, 6)), net.const(net.rng.normal(0, 0.4, (8, 6)), "f32"), net.const(net.rng.normal(0, 0.4, (8, 5)), "f32"),
             net.const(net.rng.normal(0, 0.3, 8), "f32"), net.tensor("f32", (2, 40), variable=True)]
    net.outputs(net.op("SVDF", parts, ("f32", None), "SVDFOptions", rank=1, fusedActivationFunction=ACTIVATIONS["relu"]))


def condition(net):
    """IF on an input: one branch adds, the other multiplies."""
    branches = []
    for code, options in (ADD, MUL):
        g, index = net.graph(code.lower())
        a, b = g.input("f32", (3, 4)), g.input("f32", (3, 4))
        y = g.tensor("f32", (3, 4))
        g.op(code, [a, b], [y], options)
        g.outputs(y)
        branches.append(index)
    parts = [net.input("bool", ()), x(net, (3, 4)), x(net, (3, 4))]
    net.outputs(net.op("IF", parts, ("f32", None), "IfOptions", thenSubgraphIndex=branches[0], elseSubgraphIndex=branches[1]))


def loop(net):
    """WHILE i < 5: i += 1, x = x * 1.5 + 0.25."""
    check, check_index = net.graph("check")
    i, _ = check.input("i32", ()), check.input("f32", (2, 3))
    y = check.tensor("bool", ())
    check.op("LESS", [i, check.const(5, "i32")], [y], "LessOptions")
    check.outputs(y)
    body, body_index = net.graph("body")
    i, v = body.input("i32", ()), body.input("f32", (2, 3))
    next_i, grown, moved = body.tensor("i32", ()), body.tensor("f32", (2, 3)), body.tensor("f32", (2, 3))
    body.op("ADD", [i, body.const(1, "i32")], [next_i], "AddOptions")
    body.op("MUL", [v, body.const(np.float32(1.5), "f32")], [grown], "MulOptions")
    body.op("ADD", [grown, body.const(np.float32(0.25), "f32")], [moved], "AddOptions")
    body.outputs(next_i, moved)
    parts = [net.const(0, "i32"), x(net, (2, 3))]
    net.outputs(*net.op("WHILE", parts, [("i32", None), ("f32", None)], "WhileOptions", condSubgraphIndex=check_index, bodySubgraphIndex=body_index))


def duplicated_output(net):
    """One tensor is output twice, another is both input and output, a constant is output as well."""
    source = x(net, (2, 5))
    y = net.op("ABS", [source], ("f32", None), "AbsOptions")
    c = net.const(net.rng.normal(0, 1, (3,)), "f32")
    net.outputs(y, source, c)


def models():
    """Pairs of name and maker."""
    for scheme in ("f32", "i8c", "u8"):
        yield f"net_residual_{scheme}", residual(scheme)
        yield f"net_inverted_residual_{scheme}", inverted_residual(scheme)
        yield f"net_padded_conv_{scheme}", padded_conv(scheme)
        yield f"net_branches_{scheme}", branches(scheme)
        yield f"net_classifier_{scheme}", classifier(scheme)
    yield "net_squeeze_excite_f32", squeeze_excite
    yield "net_layer_norm_f32", layer_norm
    yield "net_attention_f32", attention
    yield "net_pointwise_chain_f32", pointwise_chain
    yield "net_quantized_inside", quantized_inside
    yield "net_outputs_repeated", duplicated_output
    yield "lstm_f32", lstm("f32")
    yield "lstm_f32_time_major_peephole", lstm("f32", time_major=True, peephole=True)
    yield "lstm_f32_projection", lstm("f32", projection=4)
    yield "lstm_hybrid", lstm("hybrid")
    yield "rnn_f32", rnn
    yield "svdf_f32", svdf
    yield "if_f32", condition
    yield "while_f32", loop
