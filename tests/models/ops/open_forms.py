"""More models of tensors whose size only a run knows: images cropped to a computed box, borders and parts that are computed, lengths that meet, loops that grow."""
from layers import x
from net import DTYPES, SAME, VALID
from open_sizes import i32, rows, run_time, size, unary


def number(net, most, least=1):
    """A number from `least` to `least + most`, from an input."""
    small = net.op("MINIMUM", [net.input("i32", ()), net.const(most, "i32")], ("i32", None), "MaximumMinimumOptions")
    return unary(net, "ADD", [small, net.const(least, "i32")], "AddOptions", "i32")


def pack(net, parts):
    """A vector of scalars; numbers stand in a tuple of one."""
    parts = [net.const(p[0], "i32") if isinstance(p, tuple) else p for p in parts]
    return net.op("PACK", parts, ("i32", None), "PackOptions", valuesCount=len(parts))


def box(net, dtype="f32", quant=None, channels=3):
    """A part of an image, of computed height and width."""
    h, w = number(net, 6, 3), number(net, 5, 3)
    image = net.input(dtype, (1, 12, 11, channels), quant) if quant else x(net, (1, 12, 11, channels), dtype)
    part = net.op("SLICE", [image, i32(net, 0, 1, 2, 0), pack(net, [(1,), h, w, (channels,)])], (dtype, quant), "SliceOptions")
    return run_time(net, part, 4), h, w


def resize(net, code, part, shape, dtype="f32", quant=None, **mode):
    options = "ResizeBilinearOptions" if code == "RESIZE_BILINEAR" else "ResizeNearestNeighborOptions"
    return run_time(net, net.op(code, [part, shape], (dtype, quant), options, **mode), 4)


def resized(net):
    """A box resized to a size that is known and to twice its own, in all modes."""
    part, h, w = box(net)
    double = unary(net, "MUL", [pack(net, [h, w]), net.const(2, "i32")], "MulOptions", "i32")
    outputs = []
    for code in ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"):
        for mode in ({}, {"alignCorners": True}, {"halfPixelCenters": True}):
            outputs += [resize(net, code, part, i32(net, 7, 5), **mode), resize(net, code, part, double, **mode)]
    net.outputs(*outputs)


def resized_quantized(net):
    """The same of bytes."""
    quant = (0.05, 3)
    part, _, _ = box(net, "i8", quant)
    net.outputs(resize(net, "RESIZE_BILINEAR", part, i32(net, 6, 9), "i8", quant, halfPixelCenters=True),
                resize(net, "RESIZE_NEAREST_NEIGHBOR", part, i32(net, 6, 9), "i8", quant, halfPixelCenters=True))


def windows(net):
    """Convolutions over a box: with and without a border, with strides and dilations."""
    part, _, _ = box(net)
    bias = net.const(net.rng.normal(0, 0.1, 4), "f32")
    weights = net.const(net.rng.normal(0, 0.3, (4, 3, 3, 3)), "f32")

    def conv(padding, down, across, dilation=1):
        y = net.op("CONV_2D", [part, weights, bias], ("f32", None), "Conv2DOptions", padding=padding, strideH=down, strideW=across,
                   dilationHFactor=dilation, dilationWFactor=dilation)
        return run_time(net, y, 4)

    deep = net.op("DEPTHWISE_CONV_2D", [part, net.const(net.rng.normal(0, 0.3, (1, 2, 3, 3)), "f32"), net.const([0.1, 0.2, 0.3], "f32")], ("f32", None),
                  "DepthwiseConv2DOptions", padding=SAME, strideH=2, strideW=2, depthMultiplier=1, dilationHFactor=1, dilationWFactor=1)
    mean = unary(net, "MEAN", [conv(SAME, 2, 2), i32(net, 1, 2)], "ReducerOptions", keepDims=False)
    net.outputs(conv(SAME, 1, 1), conv(SAME, 2, 3), conv(VALID, 2, 1), conv(SAME, 1, 1, 2), run_time(net, deep, 4), mean)


def pools(net):
    """Maxima and averages over windows of a box, which at a border count what lies in it."""
    part, _, _ = box(net)

    def pool(code, padding, stride, window):
        y = unary(net, code, [part], "Pool2DOptions", padding=padding, strideH=stride, strideW=stride, filterHeight=window, filterWidth=window)
        return run_time(net, y, 4)

    net.outputs(pool("MAX_POOL_2D", SAME, 2, 3), pool("AVERAGE_POOL_2D", SAME, 2, 3), pool("AVERAGE_POOL_2D", SAME, 1, 2), pool("MAX_POOL_2D", VALID, 2, 2))


def blocks(net):
    """Blocks of a box as channels, and channels as blocks."""
    h, w = number(net, 4), number(net, 4)
    even = unary(net, "MUL", [pack(net, [h, w]), net.const(2, "i32")], "MulOptions", "i32")
    sizes = unary(net, "CONCATENATION", [i32(net, 1), even, i32(net, 4)], "ConcatenationOptions", "i32", axis=0)
    part = run_time(net, unary(net, "SLICE", [x(net, (1, 10, 10, 4)), i32(net, 0, 0, 0, 0), sizes], "SliceOptions"), 4)
    net.outputs(run_time(net, unary(net, "SPACE_TO_DEPTH", [part], "SpaceToDepthOptions", blockSize=2), 4),
                run_time(net, unary(net, "DEPTH_TO_SPACE", [part], "DepthToSpaceOptions", blockSize=2), 4))


def padded(net):
    """A part of computed length between borders of computed width, and mirrored ones."""
    n, m = number(net, 5, 3), number(net, 4, 0)
    part = run_time(net, unary(net, "SLICE", [x(net, (9, 4)), i32(net, 0, 0), pack(net, [n, (4,)])], "SliceOptions"), 2)
    rest = net.op("SUB", [net.const(8, "i32"), size(net, part, 0)], ("i32", None), "SubOptions")
    widths = net.op("PACK", [pack(net, [m, rest]), i32(net, 1, 0)], ("i32", None), "PackOptions", valuesCount=2)
    fixed = net.const([[2, 1], [1, 2]], "i32")
    net.outputs(run_time(net, unary(net, "PAD", [part, widths], "PadOptions"), 2),
                run_time(net, unary(net, "PADV2", [part, widths, net.const(1.5, "f32")], "PadV2Options"), 2),
                run_time(net, unary(net, "MIRROR_PAD", [part, fixed], "MirrorPadOptions", mode=0), 2),
                run_time(net, unary(net, "MIRROR_PAD", [part, fixed], "MirrorPadOptions", mode=1), 2))


def parted(net):
    """Parts of a tensor of computed length, and of computed lengths."""
    n = number(net, 4, 2)
    even = unary(net, "MUL", [n, net.const(2, "i32")], "MulOptions", "i32")
    part = run_time(net, unary(net, "SLICE", [x(net, (2, 14)), i32(net, 0, 0), pack(net, [(2,), even])], "SliceOptions"), 2)
    halves = net.op("SPLIT", [net.const(1, "i32"), part], [("f32", None), ("f32", None)], "SplitOptions", numSplits=2)
    rest = net.op("SUB", [net.const(14, "i32"), n], ("i32", None), "SubOptions")
    given = net.op("SPLIT_V", [x(net, (2, 14)), pack(net, [n, rest]), net.const(1, "i32")], [("f32", None), ("f32", None)], "SplitVOptions", numSplits=2)
    for t in (*halves, *given):
        run_time(net, t, 2)
    net.outputs(*halves, *given)


def meeting(net):
    """Differences of neighbours among chosen rows; a part as long as another that is known."""
    a = rows(net, (9, 3), -0.6)

    def cut(begin, end, **masks):
        y = unary(net, "STRIDED_SLICE", [a, i32(net, begin, 0), i32(net, end, 3), i32(net, 1, 1)], "StridedSliceOptions", **masks)
        return run_time(net, y, 2)

    steps = run_time(net, unary(net, "SUB", [cut(1, 0, endMask=1), cut(0, -1, beginMask=1)], "SubOptions"), 2)
    n = number(net, 4, 0)
    ends = unary(net, "ADD", [n, net.const(4, "i32")], "AddOptions", "i32")
    four = unary(net, "STRIDED_SLICE", [x(net, (9, 3)), pack(net, [n, (0,)]), pack(net, [ends, (3,)]), i32(net, 1, 1)], "StridedSliceOptions")
    product = unary(net, "MUL", [run_time(net, four, 2), x(net, (4, 3))], "MulOptions")
    net.outputs(steps, product)


def sums(net):
    """Sums and means of integers over chosen rows, and one-hot rows of a computed depth."""
    whole = rows(net, (9, 3), -0.6, 0, "i32")
    axis = i32(net, 0)
    depth = number(net, 5)
    hot = net.op("ONE_HOT", [net.input("i32", (4,)), depth, net.const(1.0, "f32"), net.const(0.0, "f32")], ("f32", None), "OneHotOptions", axis=-1)
    line = unary(net, "RANGE", [net.const(0.0, "f32"), net.op("CAST", [depth], ("f32", None), "CastOptions"), net.const(0.25, "f32")], "RangeOptions")
    net.outputs(unary(net, "SUM", [whole, axis], "ReducerOptions", "i32", keepDims=False), unary(net, "MEAN", [whole, axis], "ReducerOptions", "i32", keepDims=False),
                run_time(net, hot, 2), run_time(net, line, 1))


def counted_groups(net):
    """Rows by their distinct keys: as many segments as there are keys."""
    keys = net.input("i32", (9,))
    distinct, which = net.op("UNIQUE", [keys], [("i32", None), ("i32", None)], "UniqueOptions", idxOutType=DTYPES["i32"][0])
    values, count = x(net, (9, 2)), size(net, distinct, 0)
    net.outputs(run_time(net, unary(net, "UNSORTED_SEGMENT_SUM", [values, which, count], "UnsortedSegmentSumOptions"), 2),
                run_time(net, unary(net, "UNSORTED_SEGMENT_MAX", [values, which, count], "UnsortedSegmentMaxOptions"), 2))


def grown(net):
    """A loop that adds a row in each of five iterations at most."""
    cond, cond_index = net.graph("cond")
    body, body_index = net.graph("body")
    count, _, most = cond.input("i32", ()), cond.input("f32", (1, 3)), cond.input("i32", ())
    few = cond.op("LESS", [count, cond.const(5, "i32")], ("bool", None, ()), "LessOptions")
    below = cond.op("LESS", [count, most], ("bool", None, ()), "LessOptions")
    both = cond.op("LOGICAL_AND", [few, below], ("bool", None, ()), "LogicalAndOptions")
    cond.unknown.clear()
    cond.outputs(both)
    count, rows_so_far, most = body.input("i32", ()), body.input("f32", (1, 3)), body.input("i32", ())
    more = body.op("ADD", [count, body.const(1, "i32")], ("i32", None, ()), "AddOptions")
    last = body.op("STRIDED_SLICE", [rows_so_far, body.const([-1, 0], "i32"), body.const([0, 3], "i32"), body.const([1, 1], "i32")], ("f32", None, (1, 3)),
                   "StridedSliceOptions", endMask=1)
    half = body.op("MUL", [last, body.const(0.5, "f32")], ("f32", None, (1, 3)), "MulOptions")
    longer = body.op("CONCATENATION", [rows_so_far, half], ("f32", None, (2, 3)), "ConcatenationOptions", axis=0)
    body.unknown.clear()
    body.outputs(more, longer, most)
    _, result, _ = net.op("WHILE", [net.const(0, "i32"), x(net, (1, 3)), net.input("i32", ())], [("i32", None), ("f32", None), ("i32", None)], "WhileOptions",
                          condSubgraphIndex=cond_index, bodySubgraphIndex=body_index)
    net.outputs(run_time(net, result, 2), unary(net, "SUM", [result, i32(net, 0)], "ReducerOptions", keepDims=False))


def models():
    yield "open_resized", resized
    yield "open_resized_i8", resized_quantized
    yield "open_windows", windows
    yield "open_pools", pools
    yield "open_blocks", blocks
    yield "open_padded", padded
    yield "open_parted", parted
    yield "open_meeting", meeting
    yield "open_sums", sums
    yield "open_counted_groups", counted_groups
    yield "open_grown", grown
