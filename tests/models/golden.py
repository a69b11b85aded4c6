#!/usr/bin/env python3
"""Golden answers of .tflite models, computed by LiteRT (pip install ai-edge-litert numpy).

usage: golden.py MODEL.tflite [...]

Writes MODEL.npz beside each MODEL.tflite, with one array per input and output of the primary subgraph:
  in/NAME    the input: seeded random numbers, or what the caller of `write` passes
  out/NAME   the answer of LiteRT's default path (XNNPACK where it takes an operator), one thread
  ref/NAME   the answer of LiteRT's reference kernels, or of its optimised ones where those cannot run the model
and two scalar strings, out_kind and ref_kind, that name the operator resolver used. A name that occurs twice gets
"#INDEX" appended. Random floats are multiples of 1/128 in [-1, 1), 8- and 16-bit integers cover their whole range,
wider integers lie in [0, 10). Every model runs in a process of its own, because LiteRT aborts on some models.
"""
import multiprocessing
import sys
import zlib

import numpy as np

DEFAULT, REFERENCE, OPTIMISED = "AUTO", "BUILTIN_REF", "BUILTIN_WITHOUT_DEFAULT_DELEGATES"


def random_array(rng, shape, dtype):
    """One seeded random input; the ranges are those of the module's head."""
    dtype = np.dtype(dtype)
    if dtype == np.bool_:
        return rng.integers(0, 2, shape).astype(dtype)
    if dtype.kind == "f":
        return (rng.integers(-128, 128, shape) / 128).astype(dtype)
    if dtype.kind == "c":
        return ((rng.integers(-128, 128, shape) + 1j * rng.integers(-128, 128, shape)) / 128).astype(dtype)
    if dtype.itemsize >= 4:
        return rng.integers(0, 10, shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, endpoint=True).astype(dtype)


def keyed(details):
    """Tensor details by the name they have in the npz file."""
    found = {}
    for d in details:
        found[f"{d['name']}#{d['index']}" if d["name"] in found else d["name"]] = d
    return found


def invoke(path, kind, inputs, pipe):
    """Runs one model once and sends (inputs, outputs) through `pipe`, or the text of the error."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType
    try:
        interpreter = Interpreter(path, num_threads=1, experimental_op_resolver_type=getattr(OpResolverType, kind))
        interpreter.allocate_tensors()
        rng = np.random.default_rng(zlib.crc32(path.rsplit("/", 1)[-1].encode()))
        fed = {}
        for name, d in keyed(interpreter.get_input_details()).items():
            given = (inputs or {}).get(name)
            fed[name] = random_array(rng, tuple(d["shape"]), d["dtype"]) if given is None else given
            interpreter.set_tensor(d["index"], fed[name])
        interpreter.invoke()
        got = {n: interpreter.get_tensor(d["index"]) for n, d in keyed(interpreter.get_output_details()).items()}
        pipe.send((fed, got))
    except Exception as error:  # the parent decides what a failure means
        pipe.send(str(error).splitlines()[0])


def run(path, kind, inputs=None):
    """(inputs, outputs) of the model at `path`, or a string that says why there are none."""
    mine, theirs = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.Process(target=invoke, args=(str(path), kind, inputs, theirs))
    child.start()
    theirs.close()
    try:
        result = mine.recv() if mine.poll(60) else "no answer in 60 seconds"
    except EOFError:
        result = "the process died"
    child.kill()
    child.join()
    return result


def write(path, inputs=None):
    """Writes the golden file of one model and returns its arrays; raises RuntimeError where LiteRT refuses the model."""
    path = str(path)
    default = run(path, DEFAULT, inputs)
    if isinstance(default, str):
        raise RuntimeError(f"{path}: {default}")
    arrays = {f"in/{n}": x for n, x in default[0].items()} | {f"out/{n}": y for n, y in default[1].items()}
    arrays["out_kind"] = np.array(DEFAULT)
    for kind in (REFERENCE, OPTIMISED):
        plain = run(path, kind, default[0])
        if not isinstance(plain, str):
            arrays |= {f"ref/{n}": y for n, y in plain[1].items()} | {"ref_kind": np.array(kind)}
            break
    np.savez_compressed(path.removesuffix(".tflite") + ".npz", **arrays)
    return arrays


if __name__ == "__main__":
    for model in sys.argv[1:]:
        write(model)
