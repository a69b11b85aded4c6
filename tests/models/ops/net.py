"""Small .tflite models, written tensor by tensor through the flatbuffer schema that comes with LiteRT.

`Net` collects tensors and operators. Shapes of results need not be given: `Net.save` asks LiteRT for them. Quantisation is
a pair (scale, zero point), or (list of scales, list of zero points, axis) per channel.
"""
import multiprocessing
import os
import tempfile

import flatbuffers
import numpy as np
from flatbuffers import flexbuffers
from ai_edge_litert import schema_py_generated as schema

DTYPES = {
    "f32": (schema.TensorType.FLOAT32, np.float32), "f16": (schema.TensorType.FLOAT16, np.float16),
    "f64": (schema.TensorType.FLOAT64, np.float64), "i8": (schema.TensorType.INT8, np.int8),
    "u8": (schema.TensorType.UINT8, np.uint8), "u16": (schema.TensorType.UINT16, np.uint16), "i16": (schema.TensorType.INT16, np.int16),
    "i32": (schema.TensorType.INT32, np.int32), "u32": (schema.TensorType.UINT32, np.uint32),
    "i64": (schema.TensorType.INT64, np.int64), "u64": (schema.TensorType.UINT64, np.uint64), "bool": (schema.TensorType.BOOL, np.bool_),
    "i4": (schema.TensorType.INT4, np.int8), "u4": (schema.TensorType.UINT4, np.uint8), "i2": (schema.TensorType.INT2, np.int8),
    "c64": (schema.TensorType.COMPLEX64, np.complex64), "c128": (schema.TensorType.COMPLEX128, np.complex128),
    "resource": (schema.TensorType.RESOURCE, np.int32),
}
SAME, VALID = schema.Padding.SAME, schema.Padding.VALID
LOWEST_VERSION = {"BROADCAST_TO": 2}
ACTIVATIONS = {"none": 0, "relu": 1, "relu_n1_to_1": 2, "relu6": 3, "tanh": 4}


class AlignedBuilder(flatbuffers.Builder):
    """Aligns byte vectors to 16 bytes, as the schema asks for tensor data and the generated code forgets."""

    def CreateNumpyVector(self, x):
        if x.dtype != np.uint8:
            return super().CreateNumpyVector(x)
        self.StartVector(1, x.size, 16)
        self.head = self.head - x.size
        self.Bytes[self.head:self.head + x.size] = x.tobytes()
        return self.EndVector()


def quantization(q):
    """The schema's form of a quantisation, or None."""
    if q is None:
        return None
    result = schema.QuantizationParametersT()
    result.scale = [float(s) for s in np.atleast_1d(q[0])]
    result.zeroPoint = [int(z) for z in np.atleast_1d(q[1])]
    result.quantizedDimension = q[2] if len(q) > 2 else 0
    return result


def fit(dtype, low, high):
    """The (scale, zero point) that maps [low, high] onto the range of `dtype` (int16: symmetric)."""
    if dtype == "i16":
        return (max(abs(low), abs(high)) / 32767, 0)
    info = np.iinfo(DTYPES[dtype][1])
    scale = (high - low) / 255
    return (scale, int(np.clip(round(info.min - low / scale), info.min, info.max)))


class Graph:
    """One subgraph: its tensors, operators, inputs and outputs."""

    def __init__(self, net, name):
        self.net, self.rng = net, net.rng
        self.it = schema.SubGraphT(tensors=[], inputs=[], outputs=[], operators=[], name=name)
        self.unknown = []

    def tensor(self, dtype, shape, q=None, data=None, name=None, variable=False):
        """Adds a tensor and returns its index."""
        index = len(self.it.tensors)
        t = schema.TensorT(type=DTYPES[dtype][0], quantization=quantization(q), isVariable=variable, hasRank=True)
        t.name = name or f"t{index}"
        t.shape = [int(n) for n in shape]
        if data is not None:
            t.buffer = self.net.buffer(data)
        self.it.tensors.append(t)
        return index

    def result(self, dtype, q, shape=(1,)):
        """Adds a tensor whose shape `Net.save` finds out, from a first guess."""
        index = self.tensor(dtype, shape, q)
        self.unknown.append(index)
        return index

    def input(self, dtype, shape, q=None, name=None):
        """Adds an input of the subgraph."""
        index = self.tensor(dtype, shape, q, name=name or f"x{len(self.it.inputs)}")
        self.it.inputs.append(index)
        return index

    def const(self, values, dtype, q=None):
        """Adds a constant; values of less than a byte are packed, the first in the low bits."""
        values = np.asarray(values, DTYPES[dtype][1])
        data = values
        if dtype in ("i4", "u4", "i2"):
            bits = int(dtype[1])
            flat = np.append(values.ravel(), np.zeros(-values.size % (8 // bits), values.dtype)).astype(np.uint8) & (1 << bits) - 1
            data = np.bitwise_or.reduce([flat[i::8 // bits] << i * bits for i in range(8 // bits)]).astype(np.uint8)
        return self.tensor(dtype, values.shape, q, data)

    def op(self, code, inputs, results, options=None, **fields):
        """Adds an operator. `results` is one (dtype, quantisation[, shape]) or a list of such or of tensor indices; returns indices likewise.

        The shape is for kernels that compare it with the one that they work out."""
        several = isinstance(results, list)
        outs = [r if isinstance(r, int) else self.result(*r) for r in (results if several else [results])]
        o = schema.OperatorT(opcodeIndex=self.net.code(code), inputs=list(inputs), outputs=outs)
        if options:
            table = getattr(schema, options + "T")()
            for key, value in fields.items():
                assert hasattr(table, key), (options, key)
                setattr(table, key, value)
            second = not hasattr(schema.BuiltinOptions, options)
            kind = getattr(schema.BuiltinOptions2 if second else schema.BuiltinOptions, options)
            if second:
                o.builtinOptions2Type, o.builtinOptions2 = kind, table
            else:
                o.builtinOptionsType, o.builtinOptions = kind, table
        self.it.operators.append(o)
        return outs if several else outs[0]

    def custom(self, name, inputs, results, **options):
        """Adds a custom operator with a flexbuffer of options."""
        outs = self.op(name, inputs, results)
        o = self.it.operators[-1]
        o.customOptions = list(flexbuffers.Dumps(options))
        o.customOptionsFormat = schema.CustomOptionsFormat.FLEXBUFFERS
        return outs

    def outputs(self, *indices):
        """Names the outputs of the subgraph."""
        for n, i in enumerate(indices):
            if not self.it.tensors[i].name.startswith("x"):
                self.it.tensors[i].name = f"y{n}"
            self.it.outputs.append(i)


class Net(Graph):
    """A model; the primary subgraph is the object itself."""

    def __init__(self, seed):
        self.rng, self.codes, self.buffers, self.graphs = np.random.default_rng(seed), [], [schema.BufferT()], []
        super().__init__(self, "main")
        self.graphs.append(self)

    def graph(self, name):
        """Adds another subgraph and returns it with its index."""
        self.graphs.append(Graph(self, name))
        return self.graphs[-1], len(self.graphs) - 1

    def buffer(self, data):
        self.buffers.append(schema.BufferT(data=np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)))
        return len(self.buffers) - 1

    def code(self, name):
        if name not in self.codes:
            self.codes.append(name)
        return self.codes.index(name)

    def bytes(self):
        """The flatbuffer."""
        codes = []
        for name in self.codes:
            number = getattr(schema.BuiltinOperator, name, schema.BuiltinOperator.CUSTOM)
            codes.append(schema.OperatorCodeT(deprecatedBuiltinCode=min(number, 127), builtinCode=number, version=LOWEST_VERSION.get(name, 1)))
            if number == schema.BuiltinOperator.CUSTOM:
                codes[-1].customCode = name
        model = schema.ModelT(version=3, operatorCodes=codes, subgraphs=[g.it for g in self.graphs], buffers=self.buffers)
        model.description = "tflc test model"
        builder = AlignedBuilder(4096)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def save(self, path):
        """Writes the model, with the shapes that LiteRT works out; raises RuntimeError where it refuses the model."""
        if any(g.unknown for g in self.graphs):
            shapes = solved(self.bytes())
            for i in self.unknown:
                self.it.tensors[i].shape = shapes[i]
            assert not any(g.unknown for g in self.graphs[1:]), "shapes inside other subgraphs must be given"
        path.write_bytes(self.bytes())


def interpret(path, kind, pipe):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType
    try:
        it = Interpreter(path, num_threads=1, experimental_op_resolver_type=getattr(OpResolverType, kind))
        it.allocate_tensors()
        for d in it.get_input_details():
            it.set_tensor(d["index"], np.zeros(d["shape"], d["dtype"]))
        it.invoke()
        pipe.send({d["index"]: [int(n) for n in d["shape"]] for d in it.get_tensor_details()})
    except Exception as error:
        pipe.send(str(error))


def solved(model):
    """The shape of every tensor of the primary subgraph after one run, by tensor index."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.tflite")
        with open(path, "wb") as f:
            f.write(model)
        for kind in ("BUILTIN_REF", "BUILTIN_WITHOUT_DEFAULT_DELEGATES"):
            mine, theirs = multiprocessing.Pipe(duplex=False)
            child = multiprocessing.Process(target=interpret, args=(path, kind, theirs))
            child.start()
            theirs.close()
            try:
                answer = mine.recv()
            except EOFError:
                answer = "the process died"
            child.join()
            if isinstance(answer, dict):
                return answer
    raise RuntimeError(answer)
