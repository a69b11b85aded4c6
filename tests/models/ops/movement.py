"""Models of data movement: shapes, padding, slices, gathers, resizing."""
from layers import quant, x
from net import DTYPES


def move(code, shape, consts=(), dtype="f32", options=None, result=(1,), **fields):
    """An operator that only moves data: one input, then int32 constants; the quantisation stays."""
    def make(net):
        parts = [x(net, shape, dtype)] + [net.const(c, "i32") for c in consts]
        net.outputs(net.op(code, parts, (dtype, quant(dtype), result), options, **fields))
    return make


def split(code, shape, axis, sizes, dtype="f32"):
    """SPLIT into len(sizes) equal parts, or SPLIT_V into the given ones."""
    def make(net):
        source, along, results = x(net, shape, dtype), net.const(axis, "i32"), [(dtype, quant(dtype))] * len(sizes)
        if code == "SPLIT":
            net.outputs(*net.op(code, [along, source], results, "SplitOptions", numSplits=len(sizes)))
        else:
            net.outputs(*net.op(code, [source, net.const(sizes, "i32"), along], results, "SplitVOptions", numSplits=len(sizes)))
    return make


def join(code, shapes, axis, dtype="f32", q=None, scales="same"):
    """CONCATENATION or PACK; `scales` may be "mixed", then every input has its own quantisation (LiteRT allows that in uint8 only)."""
    def make(net):
        parts = [x(net, s, dtype, i % 3 if scales == "mixed" else 0) for i, s in enumerate(shapes)]
        if code == "PACK":
            fields = {"options": "PackOptions", "valuesCount": len(shapes), "axis": axis}
        else:
            fields = {"options": "ConcatenationOptions", "axis": axis}
        net.outputs(net.op(code, parts, (dtype, q or quant(dtype)), **fields))
    return make


def unpack(shape, axis, dtype="f32"):
    def make(net):
        net.outputs(*net.op("UNPACK", [x(net, shape, dtype)], [(dtype, quant(dtype))] * shape[axis], "UnpackOptions", num=shape[axis], axis=axis))
    return make


def gather(shape, indices, dtype="f32", axis=0, batch=0, wanted="i32"):
    """GATHER of constant indices."""
    def make(net):
        parts = [x(net, shape, dtype), net.const(indices, wanted)]
        net.outputs(net.op("GATHER", parts, (dtype, quant(dtype)), "GatherOptions", axis=axis, batchDims=batch))
    return make


def gather_input(net):
    """GATHER with indices that are an input in [0, 10)."""
    net.outputs(net.op("GATHER", [x(net, (10, 6)), net.input("i32", (5,))], ("f32", None), "GatherOptions", axis=0))


def gather_nd(net):
    parts = [x(net, (4, 5, 6)), net.const([[0, 1], [3, 4], [2, 2]], "i32")]
    net.outputs(net.op("GATHER_ND", parts, ("f32", None), "GatherNdOptions"))


def embedding(net):
    table = net.const(net.rng.normal(0, 1, (10, 8)), "f32")
    net.outputs(net.op("EMBEDDING_LOOKUP", [net.input("i32", (6,)), table], ("f32", None)))


def one_hot(net):
    parts = [net.input("i32", (3, 4)), net.const(8, "i32"), net.const(1.5, "f32"), net.const(-0.5, "f32")]
    net.outputs(net.op("ONE_HOT", parts, ("f32", None), "OneHotOptions", axis=-1))


def fill(net):
    net.outputs(net.op("FILL", [net.const([3, 4], "i32"), net.input("f32", ())], ("f32", None), "FillOptions"))


def ranged(net):
    """RANGE of constants, added to the input so that the result depends on it."""
    steps = net.op("RANGE", [net.const(v, "f32") for v in (1.0, 6.0, 0.5)], ("f32", None), "RangeOptions")
    net.outputs(net.op("ADD", [x(net, (3, 10)), steps], ("f32", None), "AddOptions"))


def shaped(net):
    source = x(net, (2, 3, 5))
    net.outputs(net.op("SHAPE", [source], ("i32", None), "ShapeOptions", outType=DTYPES["i32"][0]), net.op("RANK", [source], ("i32", None), "RankOptions"))


def pad_v2(dtype, value):
    def make(net):
        parts = [x(net, (1, 4, 5, 3), dtype), net.const([[0, 0], [1, 2], [2, 0], [0, 1]], "i32"), net.const(value, dtype, quant(dtype))]
        net.outputs(net.op("PADV2", parts, (dtype, quant(dtype)), "PadV2Options"))
    return make


def update_slice(net):
    parts = [x(net, (6, 5)), x(net, (2, 3)), net.const([3, 1], "i32")]
    net.outputs(net.op("DYNAMIC_UPDATE_SLICE", parts, ("f32", None), "DynamicUpdateSliceOptions"))


def strided(shape, begin, end, steps, dtype="f32", **masks):
    return move("STRIDED_SLICE", shape, (begin, end, steps), dtype, "StridedSliceOptions", **masks)


def resize(code, shape, size, dtype="f32", **mode):
    options = "ResizeBilinearOptions" if code == "RESIZE_BILINEAR" else "ResizeNearestNeighborOptions"
    return move(code, shape, (size,), dtype, options, **mode)


def picked(shrink, begin, end, entries):
    """STRIDED_SLICE by indices known only at run time, of axes that are dropped."""
    def make(net):
        index = net.op("FLOOR_MOD", [net.input("i32", (entries,)), net.const(3, "i32")], ("i32", None), "FloorModOptions")
        after = net.op("ADD", [index, net.const(1, "i32")], ("i32", None), "AddOptions")
        parts = [x(net, (5, 4, 3)), index, after, net.const([1] * entries, "i32")]
        net.outputs(net.op("STRIDED_SLICE", parts, ("f32", None), "StridedSliceOptions", shrinkAxisMask=shrink, beginMask=begin, endMask=end))
    return make


def models():
    """Pairs of name and maker."""
    pads = [[0, 0], [1, 2], [2, 0], [0, 1]]
    yield "strided_slice_computed_row", picked(1, 0, 0, 1)
    yield "strided_slice_computed_column", picked(2, 1, 1, 2)
    yield "strided_slice_computed_outer_and_last", picked(5, 2, 2, 3)
    yield "pad_f32", move("PAD", (1, 4, 5, 3), (pads,), options="PadOptions")
    yield "pad_i8", move("PAD", (1, 4, 5, 3), (pads,), "i8", "PadOptions")
    yield "pad_v2_f32", pad_v2("f32", -1.5)
    yield "pad_v2_u8", pad_v2("u8", 17)
    yield "mirror_pad_f32_reflect", move("MIRROR_PAD", (1, 4, 5, 3), ([[0, 0], [1, 2], [2, 1], [0, 0]],), options="MirrorPadOptions", mode=0)
    yield "mirror_pad_f32_symmetric", move("MIRROR_PAD", (4, 5), ([[1, 2], [2, 1]],), options="MirrorPadOptions", mode=1)
    yield "reshape_f32", move("RESHAPE", (2, 3, 10), ([5, -1],), options="ReshapeOptions", newShape=[5, -1])
    yield "reshape_i8", move("RESHAPE", (2, 3, 10), ([6, 10],), "i8", "ReshapeOptions", newShape=[6, 10])
    yield "squeeze_f32", move("SQUEEZE", (1, 3, 1, 5), options="SqueezeOptions", squeezeDims=[0, 2])
    yield "expand_dims_f32", move("EXPAND_DIMS", (3, 5), (1,), options="ExpandDimsOptions")
    yield "transpose_f32_2d", move("TRANSPOSE", (13, 18), ([1, 0],), options="TransposeOptions")
    yield "transpose_f32_0231", move("TRANSPOSE", (2, 3, 5, 6), ([0, 2, 3, 1],), options="TransposeOptions")
    yield "transpose_i8_0312", move("TRANSPOSE", (1, 4, 5, 6), ([0, 3, 1, 2],), "i8", "TransposeOptions")
    yield "transpose_f32_5d", move("TRANSPOSE", (2, 3, 2, 4, 3), ([3, 1, 4, 0, 2],), options="TransposeOptions")
    yield "concatenation_f32_channels", join("CONCATENATION", [(1, 4, 5, 3), (1, 4, 5, 8), (1, 4, 5, 1)], 3)
    yield "concatenation_f32_rows", join("CONCATENATION", [(1, 2, 5, 3), (1, 4, 5, 3)], -3)
    yield "concatenation_u8_mixed", join("CONCATENATION", [(2, 7), (2, 9), (2, 5)], 1, "u8", (0.0302, 131), "mixed")
    yield "concatenation_i8_same", join("CONCATENATION", [(3, 7), (3, 9)], 1, "i8")
    yield "pack_f32", join("PACK", [(3, 5), (3, 5), (3, 5)], 1)
    yield "pack_i8_last", join("PACK", [(3, 5), (3, 5)], 2, "i8")
    yield "unpack_f32", unpack((3, 4, 5), 1)
    yield "unpack_i8_first", unpack((2, 4, 5), 0, "i8")
    yield "split_f32", split("SPLIT", (2, 5, 12), 2, [4, 4, 4])
    yield "split_i8_first", split("SPLIT", (4, 7), 0, [2, 2], "i8")
    yield "split_v_f32", split("SPLIT_V", (2, 5, 12), -1, [3, 8, 1])
    yield "slice_f32", move("SLICE", (3, 6, 7), ([1, 0, 2], [2, -1, 4]), options="SliceOptions", result=(2, 6, 4))
    yield "slice_i8", move("SLICE", (1, 6, 7, 4), ([0, 1, 2, 0], [1, 4, 3, 4]), "i8", "SliceOptions", (1, 4, 3, 4))
    yield "strided_slice_f32", strided((4, 7, 6), [1, 0, 0], [4, 7, 6], [2, 3, 1])
    yield "strided_slice_f32_masks", strided((4, 7, 6), [2, 2, 1], [0, 5, 0], [1, 1, 2], beginMask=1, endMask=5)
    yield "strided_slice_f32_negative_stride", strided((4, 7), [3, -1], [0, -8], [-1, -2])
    yield "strided_slice_f32_shrink", strided((4, 7, 6), [2, 0, 0], [3, 7, 6], [1, 1, 1], shrinkAxisMask=1)
    yield "strided_slice_f32_shrink_masked", strided((4, 7, 6), [2, 0, 0], [3, 7, 6], [1, 1, 1], shrinkAxisMask=1, beginMask=1)
    yield "strided_slice_i8", strided((1, 8, 8, 3), [0, 1, 0, 0], [1, 8, 8, 3], [1, 2, 2, 1], "i8")
    yield "gather_f32", gather((7, 5), [6, 0, 3, 3])
    yield "gather_f32_axis1", gather((3, 7, 4), [[1, 6], [0, 2]], axis=1)
    yield "gather_f32_batch", gather((3, 7), [[1, 6], [0, 2], [5, 5]], axis=1, batch=1)
    yield "gather_i8_indices64", gather((7, 5), [6, 0, 3], "i8", wanted="i64")
    yield "gather_f32_input_indices", gather_input
    yield "gather_nd_f32", gather_nd
    yield "embedding_lookup_f32", embedding
    yield "one_hot_f32", one_hot
    yield "tile_f32", move("TILE", (2, 3, 5), ([2, 1, 3],), options="TileOptions")
    yield "broadcast_to_f32", move("BROADCAST_TO", (3, 1, 5), ([2, 3, 4, 5],), options="BroadcastToOptions")
    yield "reverse_v2_f32", move("REVERSE_V2", (3, 4, 5), ([1],), options="ReverseV2Options")
    yield "space_to_depth_f32", move("SPACE_TO_DEPTH", (1, 4, 6, 3), options="SpaceToDepthOptions", blockSize=2)
    yield "depth_to_space_f32", move("DEPTH_TO_SPACE", (1, 3, 4, 12), options="DepthToSpaceOptions", blockSize=2)
    yield "depth_to_space_i8", move("DEPTH_TO_SPACE", (1, 3, 4, 12), (), "i8", "DepthToSpaceOptions", blockSize=2)
    yield "space_to_batch_nd_f32", move("SPACE_TO_BATCH_ND", (1, 5, 6, 3), ([2, 2], [[1, 0], [0, 2]]), options="SpaceToBatchNDOptions")
    yield "batch_to_space_nd_f32", move("BATCH_TO_SPACE_ND", (4, 3, 4, 3), ([2, 2], [[1, 0], [0, 2]]), options="BatchToSpaceNDOptions")
    yield "zeros_like_f32", move("ZEROS_LIKE", (3, 5), options="ZerosLikeOptions")
    yield "fill_f32", fill
    yield "range_f32", ranged
    yield "shape_and_rank", shaped
    yield "dynamic_update_slice_f32", update_slice
    yield "resize_bilinear_f32", resize("RESIZE_BILINEAR", (1, 4, 5, 3), [7, 10])
    yield "resize_bilinear_f32_half_pixel", resize("RESIZE_BILINEAR", (1, 4, 5, 7), [9, 8], halfPixelCenters=True)
    yield "resize_bilinear_f32_align_corners", resize("RESIZE_BILINEAR", (2, 4, 5, 3), [8, 11], alignCorners=True)
    yield "resize_bilinear_f32_down", resize("RESIZE_BILINEAR", (1, 9, 11, 4), [4, 5], halfPixelCenters=True)
    yield "resize_bilinear_i8_half_pixel", resize("RESIZE_BILINEAR", (1, 4, 5, 7), [8, 10], "i8", halfPixelCenters=True)
    yield "resize_bilinear_u8_align_corners", resize("RESIZE_BILINEAR", (1, 4, 5, 3), [7, 9], "u8", alignCorners=True)
    yield "resize_nearest_f32", resize("RESIZE_NEAREST_NEIGHBOR", (1, 4, 5, 3), [8, 11])
    yield "resize_nearest_i8_half_pixel", resize("RESIZE_NEAREST_NEIGHBOR", (1, 4, 5, 3), [7, 10], "i8", halfPixelCenters=True)
