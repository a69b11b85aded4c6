"""Models of operators that search, scatter, transform or reorder."""
import numpy as np

from layers import quant, x
from net import DTYPES


def top_k(shape, k, dtype="f32", index="i32"):
    def make(net):
        net.outputs(*net.op("TOPK_V2", [x(net, shape, dtype), net.const(k, "i32")], [(dtype, quant(dtype)), (index, None)], "TopKV2Options"))
    return make


def scatter(shape, indices, update, dtype="f32"):
    """SCATTER_ND with constant indices, or with an input of that shape where `indices` is a tuple."""
    def make(net):
        at = net.input("i32", indices) if isinstance(indices, tuple) else net.const(indices, "i32")
        net.outputs(net.op("SCATTER_ND", [at, x(net, update, dtype), net.const(shape, "i32")], (dtype, quant(dtype)), "ScatterNdOptions"))
    return make


def sparse_to_dense(indices, shape, values, dtype="f32", index="i32"):
    def make(net):
        value = x(net, values, dtype) if values else net.input(dtype, ())
        parts = [net.const(indices, index), net.const(shape, index), value, net.const(-1, dtype)]
        net.outputs(net.op("SPARSE_TO_DENSE", parts, (dtype, None), "SparseToDenseOptions"))
    return make


def segments(code, ids, count, shape, dtype="f32"):
    def make(net):
        parts = [x(net, shape, dtype), net.const(ids, "i32")] + ([net.const(count, "i32")] if count else [])
        options = {"SEGMENT_SUM": "SegmentSumOptions"}.get(code) or "".join(w.title() for w in code.split("_")) + "Options"
        net.outputs(net.op(code, parts, (dtype, None), options))
    return make


def one(code, shape, options=None, dtype="f32", result=None, consts=(), **fields):
    """An operator of one input and int32 constants."""
    def make(net):
        parts = [x(net, shape, dtype)] + [net.const(c, "i32") for c in consts]
        net.outputs(net.op(code, parts, (result or dtype, quant(result or dtype)), options, **fields))
    return make


def reverse_sequence(shape, lengths, along, batch, dtype="f32", index="i32"):
    def make(net):
        parts = [x(net, shape, dtype), net.const(lengths, index)]
        net.outputs(net.op("REVERSE_SEQUENCE", parts, (dtype, quant(dtype)), "ReverseSequenceOptions", seqDim=along, batchDim=batch))
    return make


def set_diagonal(shape, diagonal, dtype="f32"):
    def make(net):
        parts = [x(net, shape, dtype), x(net, diagonal, dtype)]
        net.outputs(net.op("MATRIX_SET_DIAG", parts, (dtype, quant(dtype)), "MatrixSetDiagOptions"))
    return make


def dilate(shape, steps):
    def make(net):
        parts = [x(net, shape), net.const(steps, "i32"), net.const(-1.5, "f32")]
        net.outputs(net.op("DILATE", parts, ("f32", None), "DilateOptions"))
    return make


def spectrum(shape, lengths):
    """RFFT2D; its real and imaginary parts, and magnitudes."""
    def make(net):
        bins = net.op("RFFT2D", [x(net, shape), net.const(lengths, "i32")], ("c64", None, shape), "Rfft2dOptions")
        net.outputs(*(net.op(code, [bins], ("f32", None)) for code in ("REAL", "IMAG", "COMPLEX_ABS")))
    return make


def local_response(shape, radius, bias, alpha, beta):
    return one("LOCAL_RESPONSE_NORMALIZATION", shape, "LocalResponseNormalizationOptions", radius=radius, bias=bias, alpha=alpha, beta=beta)


def bucketize(dtype, boundaries):
    return one("BUCKETIZE", (3, 17), "BucketizeOptions", dtype, "i32", boundaries=boundaries)


def suppression(version, boxes, most, overlap, least, sigma=0.5, steps=None):
    """NON_MAX_SUPPRESSION over boxes (two corners in any order) and scores that are inputs, or their multiples of 1/`steps`: many are equal, some empty."""
    def make(net):
        numbers = [overlap, least] + ([sigma] if version == 5 else [])
        def coarse(value):
            if steps is None:
                return value
            value = net.op("MUL", [value, net.const(np.float32(steps), "f32")], ("f32", None), "MulOptions", fusedActivationFunction=0)
            value = net.op("FLOOR", [value], ("f32", None))
            return net.op("MUL", [value, net.const(np.float32(1 / steps), "f32")], ("f32", None), "MulOptions", fusedActivationFunction=0)
        parts = [coarse(x(net, (boxes, 4))), coarse(x(net, (boxes,))), net.const(most, "i32")] + [net.const(n, "f32") for n in numbers]
        results = [("i32", None)] + [("f32", None)] * (version == 5) + [("i32", None)]
        net.outputs(*net.op(f"NON_MAX_SUPPRESSION_V{version}", parts, results, f"NonMaxSuppressionV{version}Options"))
    return make


def random(code, shape, seed, seed2):
    def make(net):
        net.outputs(net.op(code, [net.const(shape, "i32")], ("f32", None), "RandomOptions", seed=seed, seed2=seed2))
    return make


def multinomial(shape, samples, dtype):
    def make(net):
        parts = [x(net, shape), net.const(samples, "i32")]
        net.outputs(net.op("MULTINOMIAL", parts, (dtype, None), "RandomOptions", seed=12345, seed2=678))
    return make


def conv_3d(code, shape, kernel, stride, padding, out=None, bias=True):
    """CONV_3D, or CONV_3D_TRANSPOSE to the shape `out`."""
    def make(net):
        w = net.const(net.rng.normal(0, 0.2, kernel), "f32")
        count = kernel[-1] if out is None else kernel[-2]
        last = [net.const(net.rng.normal(0, 1, (count,)), "f32")] if bias else []
        parts = [x(net, shape), w] + last if out is None else [net.const(out, "i32"), w, x(net, shape)] + last
        fields = {"strideD": stride[0], "strideH": stride[1], "strideW": stride[2], "padding": padding}
        fields.update(dilationDFactor=1, dilationHFactor=1, dilationWFactor=1, fusedActivationFunction=1)
        net.outputs(net.op(code, parts, ("f32", None), "Conv3DOptions", **fields))
    return make


def embedding_sparse(combiner):
    def make(net):
        ids, places = net.const([1, 3, 0], "i32"), net.const([[0, 0], [2, 0], [2, 1]], "i32")
        parts = [ids, places, net.const([3, 2], "i32"), net.input("f32", (3,)), x(net, (4, 3, 2))]
        net.outputs(net.op("EMBEDDING_LOOKUP_SPARSE", parts, ("f32", None), "EmbeddingLookupSparseOptions", combiner=combiner))
    return make


def by_key(net):
    parts = [net.const([1234, -292, -11, 0], "i32"), net.const([-11, 0, 1234], "i32"), x(net, (3, 5))]
    net.outputs(*net.op("HASHTABLE_LOOKUP", parts, [("f32", None), ("u8", None)]))


def where(dtype, shape, then=None):
    """WHERE of a comparison; `then` goes on from the indices."""
    def make(net):
        source = x(net, shape, dtype)
        holds = source if dtype == "bool" else net.op("GREATER", [source, net.const(0.2, "f32")], ("bool", None), "GreaterOptions")
        places = net.op("WHERE", [holds], ("i64", None), "WhereOptions")
        net.outputs(*(then(net, source, places) if then else [places]))
    return make


def gathered(net, source, places):
    """The elements that WHERE found, their squares, the sum of these, and how many there are."""
    picked = net.op("GATHER_ND", [source, places], ("f32", None), "GatherNdOptions")
    squares = net.op("MUL", [picked, picked], ("f32", None), "MulOptions")
    total = net.op("SUM", [squares, net.const([0], "i32")], ("f32", None), "ReducerOptions", keepDims=False)
    shape = net.op("SHAPE", [picked], ("i32", None), "ShapeOptions", outType=DTYPES["i32"][0])
    return squares, total, shape


def rows(net, source, places):
    """Rows of the source by the first indices that WHERE found, through a reshape to a computed shape and a fully connected layer."""
    column = net.op("STRIDED_SLICE", [places] + [net.const(v, "i32") for v in ([0, 0], [0, 1], [1, 1])], ("i64", None),
                    "StridedSliceOptions", beginMask=1, endMask=1, shrinkAxisMask=2)
    picked = net.op("GATHER", [source, column], ("f32", None), "GatherOptions", axis=0)
    w = net.const(net.rng.normal(0, 0.3, (7, 5)), "f32")
    dense = net.op("FULLY_CONNECTED", [picked, w, -1], ("f32", None), "FullyConnectedOptions")
    shape = net.op("SHAPE", [dense], ("i32", None), "ShapeOptions", outType=DTYPES["i32"][0])
    count = net.op("STRIDED_SLICE", [shape] + [net.const(v, "i32") for v in ([0], [1], [1])], ("i32", None), "StridedSliceOptions", shrinkAxisMask=1)
    wanted = net.op("PACK", [count, net.const(7, "i32"), net.const(1, "i32")], ("i32", None), "PackOptions", valuesCount=3)
    numbers = net.op("RANGE", [net.const(0, "i32"), count, net.const(1, "i32")], ("i32", None), "RangeOptions")
    ones = net.op("FILL", [wanted, net.const(1.5, "f32")], ("f32", None), "FillOptions")
    return net.op("RESHAPE", [dense, wanted], ("f32", None), "ReshapeOptions"), numbers, ones


def unique(dtype, shape, index):
    def make(net):
        options = {"idxOutType": DTYPES[index][0]}
        net.outputs(*net.op("UNIQUE", [x(net, shape, dtype)], [(dtype, quant(dtype)), (index, None)], "UniqueOptions", **options))
    return make


def chosen(net, rows, by, above):
    """The rows of a tensor, and those of what they are chosen by, where that is above a number."""
    mask = net.op("GREATER", [by, net.const(above, "f32")], ("bool", None), "GreaterOptions")
    places = net.op("WHERE", [mask], ("i64", None, (8, 1)), "WhereOptions")
    places = net.op("SQUEEZE", [places], ("i64", None), "SqueezeOptions", squeezeDims=[1])
    return [net.op("GATHER", [t, places], ("f32", None), "GatherOptions", axis=0) for t in (rows, by)]


def chosen_twice(net):
    """WHERE of a tensor of open size."""
    net.outputs(*chosen(net, *chosen(net, x(net, (12, 4)), net.input("f32", (12,)), -0.3), 0.1))


def chosen_joined(net):
    """CONCATENATION of parts of open and of known size."""
    parts = [chosen(net, x(net, (12, 4)), net.input("f32", (12,)), -0.2)[0], x(net, (3, 4)), chosen(net, x(net, (9, 4)), net.input("f32", (9,)), 0.2)[0]]
    net.outputs(net.op("CONCATENATION", parts, ("f32", None), "ConcatenationOptions", axis=0))


def chosen_boxes(net):
    """NON_MAX_SUPPRESSION_V4 of boxes of open number."""
    corners = net.op("ADD", [x(net, (20, 4)), net.const([0, 0, 2.5, 2.5], "f32")], ("f32", None), "AddOptions")
    boxes, scores = chosen(net, corners, net.input("f32", (20,)), -0.7)
    parts = [boxes, scores, net.const(5, "i32"), net.const(0.5, "f32"), net.const(-0.1, "f32")]
    net.outputs(*net.op("NON_MAX_SUPPRESSION_V4", parts, [("i32", None), ("i32", None, ())], "NonMaxSuppressionV4Options"))


def chosen_reduced(net):
    """Reductions and searches along an axis of open size."""
    rows, by = chosen(net, x(net, (20, 3)), net.input("f32", (20,)), -0.3)
    axis = net.const(0, "i32")
    values, places = net.op("TOPK_V2", [by, net.const(3, "i32")], [("f32", None), ("i32", None)], "TopKV2Options")
    net.outputs(net.op("MEAN", [rows, net.const([0], "i32")], ("f32", None), "ReducerOptions"),
                net.op("ARG_MAX", [rows, axis], ("i32", None), "ArgMaxOptions", outputType=DTYPES["i32"][0]),
                net.op("ARG_MIN", [rows, axis], ("i32", None), "ArgMinOptions", outputType=DTYPES["i32"][0]),
                net.op("CUMSUM", [by, axis], ("f32", None), "CumsumOptions"), values, places)


def first_places(net):
    """The first places that WHERE found, as many as an input says: a slice of computed size, and rows gathered by it."""
    source = x(net, (24, 4))
    places = net.op("WHERE", [net.op("LESS", [net.const(range(24), "i32"), net.const(20, "i32")], ("bool", None), "LessOptions")], ("i64", None), "WhereOptions")
    flat = net.op("RESHAPE", [places, net.const([-1], "i32")], ("i64", None), "ReshapeOptions", newShape=[-1])
    some = net.op("SLICE", [flat, net.const([1], "i32"), net.input("i32", (1,))], ("i64", None), "SliceOptions")
    # LiteRT takes the size as fixed unless the signature says otherwise.
    net.it.tensors[some].shapeSignature = [-1]
    net.outputs(some, net.op("GATHER", [source, some], ("f32", None), "GatherOptions", axis=0))


def top_k_computed(net):
    net.outputs(*net.op("TOPK_V2", [x(net, (20,)), net.input("i32", ())], [("f32", None), ("i32", None)], "TopKV2Options"))


def spectrogram(samples, channels, squared):
    def make(net):
        sound = x(net, (samples, channels))
        net.outputs(net.custom("AudioSpectrogram", [sound], ("f32", None), window_size=40, stride=17, magnitude_squared=squared))
    return make


def cepstrum(net):
    """Mfcc of the power spectrum of a sound."""
    power = net.custom("AudioSpectrogram", [x(net, (900, 1))], ("f32", None), window_size=256, stride=100, magnitude_squared=True)
    options = {"upper_frequency_limit": 4000.0, "lower_frequency_limit": 20.0, "filterbank_channel_count": 40, "dct_coefficient_count": 13}
    net.outputs(net.custom("Mfcc", [power, net.const(16000, "i32")], ("f32", None), **options))


def detections(regular, classes_each, dtype="f32"):
    """TFLite_Detection_PostProcess of boxes around anchors; scores are all different."""
    def make(net):
        boxes, classes = 24, 3
        q = (0.05, 128) if dtype == "u8" else None
        anchors = net.rng.uniform(0.2, 0.8, (boxes, 4))
        anchors[:, 2:] = net.rng.uniform(0.1, 0.4, (boxes, 2))
        order = net.rng.permutation(boxes * (classes + 1)).reshape(1, boxes, classes + 1) / 100
        scores = net.op("ADD", [net.op("LOGISTIC", [net.op("MUL", [x(net, (1, boxes, classes + 1)), net.const(1e-4, "f32")], ("f32", None),
                                                           "MulOptions")], ("f32", None)), net.const(order, "f32")], ("f32", None), "AddOptions")
        parts = [net.input(dtype, (1, boxes, 4), q), scores, net.const(anchors, "f32")]
        net.outputs(*net.custom("TFLite_Detection_PostProcess", parts, [("f32", None)] * 4, max_detections=10, max_classes_per_detection=classes_each,
                                detections_per_class=4, use_regular_nms=regular, nms_score_threshold=0.7, nms_iou_threshold=0.4,
                                num_classes=classes, y_scale=10.0, x_scale=10.0, h_scale=5.0, w_scale=5.0))
    return make


def boxes(shape, starts, result, offset, collapsed, along, vector, sizes, dtype="f32", index="i32"):
    """STABLEHLO_GATHER by computed starts, in [0, 10): some boxes are moved back inside."""
    def make(net):
        parts = [x(net, shape, dtype), net.input(index, starts)]
        net.outputs(net.op("STABLEHLO_GATHER", parts, (dtype, quant(dtype), result), "StablehloGatherOptions", offsetDims=offset,
                           collapsedSliceDims=collapsed, startIndexMap=along, indexVectorDim=vector, sliceSizes=sizes, indicesAreSorted=False))
    return make


def updates(shape, starts, update, window, inserted, along, body, dtype="f32", index="i32"):
    """STABLEHLO_SCATTER with ADD or the like as its body, or none; starts in [0, 10), some of them outside."""
    def make(net):
        parts = [net.input(dtype, shape), net.input(index, starts), net.input(dtype, update)]
        graph, number = net.graph("body")
        pair = [graph.input(dtype, (), name="a"), graph.input(dtype, (), name="b")]
        if body:
            graph.outputs(*graph.op(f"STABLEHLO_{body}", pair, [graph.tensor(dtype, (), name="r")]))
        else:
            graph.outputs(pair[1])
        net.outputs(net.op("STABLEHLO_SCATTER", parts, (dtype, None, shape), "StablehloScatterOptions", updateWindowDims=window,
                           insertedWindowDims=inserted, scatterDimsToOperandDims=along, indexVectorDim=len(starts) - 1,
                           updateComputationSubgraphIndex=number))
    return make


def random_bits(algorithm, words, dtype, shape):
    """STABLEHLO_RNG_BIT_GENERATOR: 0 and 1 are Philox, 2 is Threefry."""
    def make(net):
        net.outputs(*net.op("STABLEHLO_RNG_BIT_GENERATOR", [net.input("u64", (words,))], [("u64", None, (words,)), (dtype, None, shape)],
                            "StablehloRngBitGeneratorOptions", algorithm=algorithm))
    return make


def pair(code, shapes, dtype, result=None):
    """An operator of two inputs of one type."""
    def make(net):
        net.outputs(net.op(code, [net.input(dtype, s) for s in shapes], (result or dtype, None)))
    return make


def broadcast_of_shapes(net):
    """BROADCAST_ARGS of a computed shape and ones."""
    net.outputs(net.op("BROADCAST_ARGS", [net.const([1, 1], "i64"), net.input("i64", (4,))], ("i64", None)))


def by_short_index(code, options):
    """GATHER or GATHER_ND by computed indices of 16 bits: remainders of what the input holds."""
    def make(net):
        wide = net.op("FLOOR_MOD", [net.input("i32", (5, 1)), net.const(4, "i32")], ("i32", None), "FloorModOptions")
        index = net.op("CAST", [wide], ("i16", None), "CastOptions", inDataType=DTYPES["i32"][0], outDataType=DTYPES["i16"][0])
        net.outputs(net.op(code, [x(net, (4, 6)), index], ("f32", None), options))
    return make


def embedding_of(dtype):
    """EMBEDDING_LOOKUP in a table that is an input."""
    def make(net):
        net.outputs(net.op("EMBEDDING_LOOKUP", [net.const([3, 0, 7], "i32"), net.input(dtype, (9, 5))], (dtype, None)))
    return make


def hashed(dtype, shape, kind, weighted=False):
    """LSH_PROJECTION, sparse (1) or dense (2)."""
    def make(net):
        parts = [net.const(net.rng.normal(0, 1, (3, 5)), "f32"), net.input(dtype, shape)] + ([net.input("f32", shape[:1])] if weighted else [])
        net.outputs(net.op("LSH_PROJECTION", parts, ("i32", None), "LSHProjectionOptions", type=kind))
    return make


def counted(dtype, first, limit, step):
    """RANGE of constants, which is the output itself."""
    def make(net):
        net.outputs(net.op("RANGE", [net.const(v, dtype) for v in (first, limit, step)], (dtype, None), "RangeOptions"))
    return make


def models():
    """Pairs of name and maker."""
    yield "stablehlo_gather_rows", boxes((8, 6), (5, 1), (5, 6), [1], [0], [0], 1, [1, 6])
    yield "stablehlo_gather_rows_i8", boxes((8, 37), (2, 3, 1), (2, 3, 37), [2], [0], [0], 2, [1, 37], "i8", "i64")
    yield "stablehlo_gather_boxes", boxes((5, 12, 7), (2, 3, 2), (2, 3, 4, 4), [2, 3], [0], [1, 2], 2, [1, 4, 4])
    yield "stablehlo_gather_offsets_first", boxes((9, 6, 7), (4, 2), (2, 4, 3), [0, 2], [1], [0, 2], 1, [2, 1, 3], "i16")
    yield "stablehlo_gather_single", boxes((10, 6), (2,), (3, 2), [0, 1], [], [1, 0], 0, [3, 2])
    for body in (None, "ADD", "MULTIPLY", "MAXIMUM", "MINIMUM"):
        yield f"stablehlo_scatter_{(body or 'update').lower()}_f32", updates((8, 21), (4, 1), (4, 21), [1], [0], [0], body)
    yield "stablehlo_scatter_boxes", updates((5, 9, 9), (3, 2), (3, 2, 4), [1, 2], [0], [1, 2], None, index="i64")
    yield "stablehlo_scatter_boxes_add_i8", updates((5, 9, 9), (3, 2), (3, 2, 4), [1, 2], [0], [1, 2], "ADD", "i8")
    yield "stablehlo_scatter_bool", updates((8, 6), (4, 1), (4, 6), [1], [0], [0], "ADD", "bool")
    yield "stablehlo_scatter_f16", updates((8, 6), (4, 1), (4, 6), [1], [0], [0], "MULTIPLY", "f16")
    yield "stablehlo_rng_philox", random_bits(1, 3, "u32", (3, 5))
    yield "stablehlo_rng_default_i64", random_bits(0, 2, "i64", (7,))
    yield "stablehlo_rng_threefry", random_bits(2, 2, "u64", (5,))
    yield "stablehlo_maximum_u64", pair("STABLEHLO_MAXIMUM", [(5, 7), (5, 7)], "u64")
    yield "stablehlo_add_bool", pair("STABLEHLO_ADD", [(5, 7), (5, 7)], "bool")
    yield "equal_bool", pair("EQUAL", [(5, 7), (7,)], "bool", "bool")
    yield "not_equal_bool", pair("NOT_EQUAL", [(5, 7), (5, 7)], "bool", "bool")
    yield "broadcast_args_i64", broadcast_of_shapes
    yield "gather_i16_indices", by_short_index("GATHER", "GatherOptions")
    yield "gather_nd_i16_indices", by_short_index("GATHER_ND", "GatherNdOptions")
    yield "embedding_lookup_i64", embedding_of("i64")
    yield "embedding_lookup_f16", embedding_of("f16")
    yield "lsh_projection_i32", hashed("i32", (6,), 2)
    yield "lsh_projection_i8_sparse", hashed("i8", (6, 2), 1)
    yield "lsh_projection_i32_pairs_weighted", hashed("i32", (6, 2), 1, True)
    yield "lsh_projection_f32_rows_weighted", hashed("f32", (5, 6), 2, True)
    yield "lsh_projection_i64_rows", hashed("i64", (4, 7), 1)
    yield "range_i64", counted("i64", 3, 20, 4)
    yield "resize_nearest_neighbor_f16", one("RESIZE_NEAREST_NEIGHBOR", (1, 4, 5, 3), "ResizeNearestNeighborOptions", "f16", consts=([7, 9],))
    yield "softmax_f16", one("SOFTMAX", (3, 37), "SoftmaxOptions", "f16", beta=1.0)
    yield "custom_audio_spectrogram", spectrogram(150, 2, True)
    yield "custom_audio_spectrogram_magnitude", spectrogram(120, 1, False)
    yield "custom_mfcc", cepstrum
    yield "custom_detection_fast", detections(False, 1)
    yield "custom_detection_fast_ranked", detections(False, 2)
    yield "custom_detection_regular", detections(True, 1)
    yield "where_bool", where("bool", (3, 5))
    yield "where_f32_gathered", where("f32", (4, 6), gathered)
    yield "where_f32_rows", where("f32", (9, 5), rows)
    yield "where_chosen_twice", chosen_twice
    yield "where_chosen_joined", chosen_joined
    yield "where_chosen_boxes", chosen_boxes
    yield "where_chosen_reduced", chosen_reduced
    yield "unique_i32", unique("i32", (40,), "i32")
    yield "unique_i64", unique("i64", (20,), "i64")
    yield "unique_i8", unique("i8", (300,), "i32")
    yield "slice_computed_size", first_places
    yield "topk_v2_f32_computed_k", top_k_computed
    yield "non_max_suppression_v4", suppression(4, 60, 12, 0.4, -0.5)
    yield "non_max_suppression_v4_few", suppression(4, 9, 20, 0.1, 0.6)
    yield "non_max_suppression_v5", suppression(5, 60, 12, 0.5, 0.1)
    yield "non_max_suppression_v5_hard", suppression(5, 40, 6, 0.3, -9.0, 0.0)
    yield "non_max_suppression_v4_ties", suppression(4, 90, 40, 0.4, -0.5, steps=8)
    yield "non_max_suppression_v5_ties", suppression(5, 90, 60, 0.6, 0.1, steps=4)
    yield "random_uniform", random("RANDOM_UNIFORM", [3, 7], 1234, 99)
    yield "random_standard_normal", random("RANDOM_STANDARD_NORMAL", [5, 5], 1234, 99)
    yield "multinomial_i32", multinomial((3, 7), 9, "i32")
    yield "multinomial_i64", multinomial((1, 20), 30, "i64")
    yield "conv_3d_f32", conv_3d("CONV_3D", (1, 4, 5, 6, 3), (2, 3, 3, 3, 4), (1, 1, 1), 0)
    yield "conv_3d_f32_s2_valid", conv_3d("CONV_3D", (2, 6, 7, 8, 2), (3, 2, 3, 2, 18), (2, 1, 2), 1, bias=False)
    yield "conv_3d_transpose_f32", conv_3d("CONV_3D_TRANSPOSE", (1, 2, 3, 4, 3), (2, 3, 3, 4, 3), (2, 2, 2), 0, [1, 4, 6, 8, 4])
    yield "conv_3d_transpose_f32_valid", conv_3d("CONV_3D_TRANSPOSE", (2, 2, 2, 3, 5), (3, 2, 2, 2, 5), (1, 2, 1), 1, [2, 4, 4, 4, 2], False)
    for combiner, name in enumerate(("sum", "mean", "sqrtn")):
        yield f"embedding_lookup_sparse_{name}", embedding_sparse(combiner)
    yield "hashtable_lookup_f32", by_key
    yield "topk_v2_f32", top_k((4, 40), 5)
    yield "topk_v2_f32_all", top_k((3, 2, 33), 33)
    yield "topk_v2_f32_one", top_k((5, 17), 1)
    yield "topk_v2_i8", top_k((4, 40), 7, "i8")
    yield "topk_v2_u8", top_k((300,), 9, "u8")
    yield "topk_v2_i32", top_k((2, 50), 6, "i32")
    yield "topk_v2_i64", top_k((2, 50), 6, "i64")
    yield "scatter_nd_f32", scatter([8, 5], [[1], [4], [6]], (3, 5))
    yield "scatter_nd_f32_meeting", scatter([8, 21], [[1], [4], [1]], (3, 21))
    yield "scatter_nd_f32_elements", scatter([4, 5, 3], [[[0, 1, 2], [3, 4, 0]], [[0, 1, 2], [1, 1, 1]]], (2, 2))
    yield "scatter_nd_i8", scatter([6, 7], [[5], [0]], (2, 7), "i8")
    yield "scatter_nd_i32_computed_indices", scatter([10, 3], (4, 1), (4, 3), "i32")
    yield "sparse_to_dense_f32", sparse_to_dense([[0, 1], [2, 3]], [4, 5], (2,))
    yield "sparse_to_dense_f32_scalar_indices64", sparse_to_dense([[0, 1], [2, 3]], [4, 5], (), index="i64")
    yield "sparse_to_dense_i32_vector", sparse_to_dense([1, 3, 6], [9], (3,), "i32")
    yield "segment_sum_f32", segments("SEGMENT_SUM", [0, 0, 1, 1, 1, 2], None, (6, 5))
    yield "segment_sum_i32", segments("SEGMENT_SUM", [0, 0, 1, 1, 1, 2], None, (6, 2, 3), "i32")
    for kind in ("SUM", "PROD", "MAX", "MIN"):
        yield f"unsorted_segment_{kind.lower()}_f32", segments(f"UNSORTED_SEGMENT_{kind}", [2, 0, 1, 0, 4, 2], 5, (6, 18))
        yield f"unsorted_segment_{kind.lower()}_i32", segments(f"UNSORTED_SEGMENT_{kind}", [2, 0, -1, 0, 3, 2], 4, (6, 3), "i32")
    yield "reverse_sequence_f32", reverse_sequence((3, 6, 4), [2, 6, 1], 1, 0)
    yield "reverse_sequence_f32_time_major", reverse_sequence((6, 3, 4), [2, 6, 1], 0, 1, index="i64")
    yield "reverse_sequence_i32_inside", reverse_sequence((2, 5, 3, 2), [4, 0, 5], 1, 2, "i32")
    yield "matrix_diag_f32", one("MATRIX_DIAG", (2, 5), "MatrixDiagOptions")
    yield "matrix_diag_i8", one("MATRIX_DIAG", (5,), "MatrixDiagOptions", "i8")
    yield "matrix_set_diag_f32", set_diagonal((2, 4, 6), (2, 4))
    yield "matrix_set_diag_i8", set_diagonal((5, 3), (3,), "i8")
    yield "dilate_f32", dilate((3, 4, 2), [2, 1, 3])
    yield "rfft2d_f32", spectrum((3, 1, 64), [1, 64])
    yield "rfft2d_f32_matrix", spectrum((2, 16, 32), [16, 32])
    yield "rfft2d_f32_padded", spectrum((5, 19), [8, 32])
    yield "rfft2d_f32_cropped", spectrum((2, 9, 40), [4, 8])
    yield "local_response_normalization_f32", local_response((1, 3, 4, 10), 2, 1.0, 0.5, 0.75)
    yield "local_response_normalization_f32_wide", local_response((1, 3, 2, 40), 20, 2.0, 0.1, 0.5)
    yield "bucketize_f32", bucketize("f32", [-1.0, 0.0, 0.25, 2.0])
    yield "bucketize_i32", bucketize("i32", [1.0, 3.0, 5.0])
