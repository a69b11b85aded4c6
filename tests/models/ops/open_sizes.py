"""Models of tensors whose size only a run knows: chosen rows, lengths that are inputs, and what is done with them."""
from layers import x
from net import DTYPES


def i32(net, *values):
    return net.const(list(values), "i32")


def mask(net, by, above):
    """Where an input is above a number."""
    return net.op("GREATER", [by, net.const(above, "f32")], ("bool", None), "GreaterOptions")


def places(net, n, above=-0.2):
    """A vector of the positions at which an input of n elements is above a number."""
    found = net.op("WHERE", [mask(net, net.input("f32", (n,)), above)], ("i64", None, (n, 1)), "WhereOptions")
    return net.op("SQUEEZE", [found], ("i64", None), "SqueezeOptions", squeezeDims=[1])


def rows(net, shape, above=-0.2, axis=0, dtype="f32"):
    """A tensor of which a run chooses rows along an axis."""
    return net.op("GATHER", [x(net, shape, dtype), places(net, shape[axis], above)], (dtype, None), "GatherOptions", axis=axis)


def unary(net, code, tensors, options=None, dtype="f32", **fields):
    return net.op(code, tensors, (dtype, None), options, **fields)


def size(net, tensor, axis):
    """The length of an axis, as a scalar."""
    shape = net.op("SHAPE", [tensor], ("i32", None), "ShapeOptions", outType=DTYPES["i32"][0])
    return net.op("STRIDED_SLICE", [shape, i32(net, axis), i32(net, axis + 1), i32(net, 1)], ("i32", None), "StridedSliceOptions", shrinkAxisMask=1)


def run_time(net, tensor, rank):
    """Says that LiteRT finds the size of a tensor in a run."""
    net.it.tensors[tensor].shapeSignature = [-1] * rank
    return tensor


def pairs(net):
    """Distances of all pairs of two sets of rows: two axes of open size."""
    a, b = rows(net, (6, 3), -0.3), rows(net, (5, 3), -0.4)
    a, b = unary(net, "EXPAND_DIMS", [a, i32(net, 1)], "ExpandDimsOptions"), unary(net, "EXPAND_DIMS", [b, i32(net, 0)], "ExpandDimsOptions")
    distance = unary(net, "SQUARED_DIFFERENCE", [a, b], "SquaredDifferenceOptions")
    total = unary(net, "SUM", [distance, i32(net, 2)], "ReducerOptions", keepDims=False)
    nearest = net.op("ARG_MIN", [total, i32(net, 1)], ("i32", None), "ArgMinOptions", outputType=DTYPES["i32"][0])
    net.outputs(distance, total, nearest, unary(net, "REDUCE_MAX", [total, i32(net, 0, 1)], "ReducerOptions"))


def product(turned):
    """Products of rows with rows."""
    def make(net):
        if turned:
            a, b = rows(net, (6, 4), -0.3), rows(net, (5, 4), -0.4)
        else:
            a, b = rows(net, (2, 6, 4), -0.3, 1), x(net, (2, 4, 5))
        net.outputs(unary(net, "BATCH_MATMUL", [a, b], "BatchMatMulOptions", adjX=False, adjY=turned))
    return make


def gram(net):
    """A product along the axis of open size, and a softmax along it."""
    a = rows(net, (7, 3))
    product = unary(net, "BATCH_MATMUL", [a, a], "BatchMatMulOptions", adjX=True, adjY=False)
    scores = unary(net, "BATCH_MATMUL", [a, a], "BatchMatMulOptions", adjX=False, adjY=True)
    soft = unary(net, "SOFTMAX", [scores], "SoftmaxOptions", beta=1.0)
    net.outputs(product, soft, unary(net, "BATCH_MATMUL", [soft, a], "BatchMatMulOptions", adjX=False, adjY=False))


def turned(net):
    """A transpose, reversals and sums from behind."""
    a = rows(net, (4, 5, 3), -0.4, 1)
    net.outputs(unary(net, "TRANSPOSE", [a, i32(net, 2, 1, 0)], "TransposeOptions"), unary(net, "REVERSE_V2", [a, i32(net, 1)], "ReverseV2Options"),
                unary(net, "CUMSUM", [a, net.const(1, "i32")], "CumsumOptions", reverse=True), unary(net, "MEAN", [a, i32(net, 1)], "ReducerOptions", keepDims=True))


def flattened(net):
    """Axes of open size that become one, and one that becomes two."""
    a = rows(net, (4, 5, 3), -0.4, 1)
    flat = run_time(net, unary(net, "RESHAPE", [a, i32(net, -1, 3)], "ReshapeOptions", newShape=[-1, 3]), 2)
    back = net.op("PACK", [net.const(4, "i32"), size(net, a, 1), net.const(3, "i32")], ("i32", None), "PackOptions", valuesCount=3)
    again = run_time(net, unary(net, "RESHAPE", [unary(net, "RELU", [flat]), back], "ReshapeOptions"), 3)
    net.outputs(flat, again)


def cut(net):
    """Parts of an axis of open size."""
    a = rows(net, (9, 3), -0.6)

    def part(begin, end, stride, **masks):
        sliced = unary(net, "STRIDED_SLICE", [a, i32(net, begin, 0), i32(net, end, 3), i32(net, stride, 1)], "StridedSliceOptions", **masks)
        return run_time(net, sliced, 2)

    last = unary(net, "STRIDED_SLICE", [a, i32(net, -1), i32(net, 0), i32(net, 1)], "StridedSliceOptions", shrinkAxisMask=1)
    net.outputs(part(1, 0, 1, endMask=1), part(0, -1, 1, beginMask=1), part(0, 2, 1), part(0, 0, -1, beginMask=1, endMask=1), part(0, 0, 2, endMask=1), last)


def window(net):
    """A window whose corner and size are inputs."""
    begin, extent = [unary(net, "FLOOR_DIV", [net.input("i32", (2,)), net.const(2, "i32")], "FloorDivOptions", "i32") for _ in range(2)]
    extent = unary(net, "ADD", [extent, net.const(2, "i32")], "AddOptions", "i32")
    end = unary(net, "ADD", [begin, extent], "AddOptions", "i32")
    image = x(net, (12, 14, 3))
    corner = unary(net, "CONCATENATION", [begin, i32(net, 0)], "ConcatenationOptions", "i32", axis=0)
    sizes = unary(net, "CONCATENATION", [extent, i32(net, 3)], "ConcatenationOptions", "i32", axis=0)
    cropped = run_time(net, unary(net, "SLICE", [image, corner, sizes], "SliceOptions"), 3)
    strided = run_time(net, unary(net, "STRIDED_SLICE", [image, begin, end, i32(net, 1, 1)], "StridedSliceOptions"), 3)
    net.outputs(cropped, strided, unary(net, "SUM", [strided, i32(net, 0, 1)], "ReducerOptions", keepDims=False))


def joined(net):
    """Parts of open size one behind the other along an inner axis, and borders around them."""
    a, b = rows(net, (4, 5, 3), -0.4, 1), rows(net, (4, 6, 3), 0.1, 1)
    parts = run_time(net, unary(net, "CONCATENATION", [a, b, x(net, (4, 2, 3))], "ConcatenationOptions", axis=1), 3)
    padded = unary(net, "PAD", [parts, net.const([[0, 0], [2, 1], [1, 0]], "i32")], "PadOptions")
    net.outputs(parts, run_time(net, padded, 3), unary(net, "CONCATENATION", [a, a], "ConcatenationOptions", axis=2))


def repeated(net):
    """Rows repeated, and one row as often as there are others."""
    a = rows(net, (5, 3))
    twice = run_time(net, unary(net, "TILE", [a, i32(net, 2, 2)], "TileOptions"), 2)
    shape = net.op("PACK", [size(net, a, 0), net.const(4, "i32")], ("i32", None), "PackOptions", valuesCount=2)
    wide = run_time(net, unary(net, "BROADCAST_TO", [x(net, (1, 4)), shape]), 2)
    net.outputs(twice, wide, unary(net, "CONCATENATION", [a, wide], "ConcatenationOptions", axis=1))


def counted(net):
    """Numbers up to a length, squared by broadcasting, and a mask of what is not above the diagonal."""
    a = rows(net, (6, 2))
    n = size(net, a, 0)
    line = unary(net, "RANGE", [net.const(0, "i32"), n, net.const(1, "i32")], "RangeOptions", "i32")
    odd = run_time(net, unary(net, "RANGE", [net.const(1, "i32"), n, net.const(2, "i32")], "RangeOptions", "i32"), 1)
    column = unary(net, "EXPAND_DIMS", [line, i32(net, 1)], "ExpandDimsOptions", "i32")
    below = unary(net, "LESS_EQUAL", [line, column], "LessEqualOptions", "bool")
    half = unary(net, "FLOOR_DIV", [n, net.const(2, "i32")], "FloorDivOptions", "i32")
    shape = net.op("PACK", [half, net.const(3, "i32")], ("i32", None), "PackOptions", valuesCount=2)
    filled = run_time(net, unary(net, "FILL", [shape, net.const(0.5, "f32")], "FillOptions"), 2)
    net.outputs(line, odd, below, filled)


def grouped(net):
    """Rows by their distinct keys: UNIQUE of an open tensor, and sums of segments."""
    keys = rows(net, (9,), -0.5, 0, "i32")
    distinct, which = net.op("UNIQUE", [keys], [("i32", None), ("i32", None)], "UniqueOptions", idxOutType=DTYPES["i32"][0])
    at = unary(net, "EXPAND_DIMS", [which, i32(net, 1)], "ExpandDimsOptions", "i32")
    shape = net.op("SHAPE", [distinct], ("i32", None), "ShapeOptions", outType=DTYPES["i32"][0])
    net.outputs(distinct, which, run_time(net, unary(net, "SCATTER_ND", [at, keys, shape], "ScatterNdOptions", "i32"), 1))


def images(net):
    """Images chosen by a run through a convolution and a pool, and classified."""
    a = rows(net, (5, 8, 8, 3), -0.4)
    weights, bias = net.const(net.rng.normal(0, 0.3, (4, 3, 3, 3)), "f32"), net.const(net.rng.normal(0, 0.1, 4), "f32")
    y = unary(net, "CONV_2D", [a, weights, bias], "Conv2DOptions", padding=0, strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1)
    y = unary(net, "MAX_POOL_2D", [y], "Pool2DOptions", padding=1, strideH=2, strideW=2, filterHeight=2, filterWidth=2)
    flat = run_time(net, unary(net, "RESHAPE", [y, i32(net, -1, 64)], "ReshapeOptions", newShape=[-1, 64]), 2)
    dense = unary(net, "FULLY_CONNECTED", [flat, net.const(net.rng.normal(0, 0.2, (6, 64)), "f32"), -1], "FullyConnectedOptions")
    net.outputs(unary(net, "SOFTMAX", [dense], "SoftmaxOptions", beta=1.0))


def by_pairs(net):
    """Elements of a matrix of open size, by open indices in two axes."""
    a = rows(net, (4, 7, 2), -0.5, 1)
    found = net.op("WHERE", [mask(net, a, 0.1)], ("i64", None, (56, 3)), "WhereOptions")
    net.outputs(found, unary(net, "GATHER_ND", [a, found], "GatherNdOptions"))


def shrinking(net):
    """A loop that drops the first row of a tensor, as often as an input is below a number."""
    cond, cond_index = net.graph("cond")
    body, body_index = net.graph("body")
    left, count = cond.input("f32", (6, 3)), cond.input("i32", ())
    many = cond.op("LESS", [count, cond.const(4, "i32")], ("bool", None, ()), "LessOptions")
    cond.unknown.clear()
    cond.outputs(many)
    left, count = body.input("f32", (6, 3)), body.input("i32", ())
    rest = body.op("STRIDED_SLICE", [left, body.const([1, 0], "i32"), body.const([0, 3], "i32"), body.const([1, 1], "i32")], ("f32", None, (5, 3)),
                   "StridedSliceOptions", endMask=1)
    more = body.op("ADD", [count, body.const(1, "i32")], ("i32", None, ()), "AddOptions")
    body.unknown.clear()
    body.outputs(rest, more)
    rest, times = net.op("WHILE", [x(net, (6, 3)), net.input("i32", ())], [("f32", None), ("i32", None)], "WhileOptions",
                         condSubgraphIndex=cond_index, bodySubgraphIndex=body_index)
    run_time(net, rest, 2)
    net.outputs(rest, times, unary(net, "SUM", [rest, i32(net, 0)], "ReducerOptions", keepDims=False))


def branched(net):
    """Branches that give results of other sizes."""
    yes, yes_index = net.graph("yes")
    no, no_index = net.graph("no")
    a = yes.input("f32", (4, 3))
    part = yes.op("SLICE", [a, yes.const([1, 0], "i32"), yes.const([2, 2], "i32")], ("f32", None, (2, 2)), "SliceOptions")
    yes.unknown.clear()
    yes.outputs(part)
    b = no.input("f32", (4, 3))
    twice = no.op("CONCATENATION", [b, b], ("f32", None, (8, 3)), "ConcatenationOptions", axis=0)
    no.unknown.clear()
    no.outputs(twice)
    chosen = net.op("IF", [net.input("bool", ()), x(net, (4, 3))], ("f32", None), "IfOptions", thenSubgraphIndex=yes_index, elseSubgraphIndex=no_index)
    run_time(net, chosen, 2)
    net.outputs(unary(net, "MUL", [chosen, chosen], "MulOptions"), unary(net, "MEAN", [chosen, i32(net, 0)], "ReducerOptions", keepDims=False))


def models():
    yield "open_pairs", pairs
    yield "open_product", product(False)
    yield "open_product_turned", product(True)
    yield "open_gram", gram
    yield "open_turned", turned
    yield "open_flattened", flattened
    yield "open_cut", cut
    yield "open_window", window
    yield "open_joined", joined
    yield "open_repeated", repeated
    yield "open_counted", counted
    yield "open_grouped", grouped
    yield "open_images", images
    yield "open_by_pairs", by_pairs
    yield "open_shrinking", shrinking
    yield "open_branched", branched
