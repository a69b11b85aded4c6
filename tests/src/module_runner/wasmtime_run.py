"""Runs the jobs of FOLDER/jobs.json in Wasmtime, without the JavaScript loader: modules with a memory of their own only.

Usage: python wasmtime_run.py FOLDER. What failed goes to FOLDER/failures.json.
"""

import json
import math
import pathlib
import struct
import sys

from wasmtime import Engine, Instance, Module, Store


def description(module: bytes) -> dict:
    """The JSON of the custom section `tflc`."""
    at = 8

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = module[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(module):
        kind = module[at]
        at += 1
        size = number()
        end = at + size
        if kind == 0:
            length = number()
            if module[at : at + length] == b"tflc":
                return json.loads(module[at + length : end])
        at = end
    raise ValueError("no section tflc")


def run(engine: Engine, folder: pathlib.Path, job: dict) -> None:
    """Runs one job and writes its outputs."""
    code = (folder / job["module"]).read_bytes()
    about = description(code)
    store = Store(engine)
    exports = Instance(store, Module(engine, code), []).exports(store)
    memory = exports["memory"]
    sizes = [about["arena_bytes"], about["state_bytes"], 4 * len(about["inputs"]), 4 * len(about["outputs"])]
    sizes += [t["bytes"] for t in about["inputs"] + about["outputs"]]
    at = exports["heap_base"].value(store)
    places = []
    for size in sizes:
        at = (at + 63) // 64 * 64
        places.append(at)
        at += size
    missing = at - memory.data_len(store)
    if missing > 0:
        memory.grow(store, (missing + 65535) // 65536)
    arena, state, inputs, outputs, *tensors = places
    for i, place in enumerate(tensors):
        first = len(about["inputs"])
        slot = inputs + 4 * i if i < first else outputs + 4 * (i - first)
        memory.write(store, struct.pack("<I", place), slot)
    for place, file in zip(tensors, job["inputs"]):
        memory.write(store, (folder / file).read_bytes(), place)
    status = exports["invoke"](store, arena, state, inputs, outputs)
    if status != 0:
        raise RuntimeError(f"status {status}")
    shapes = []
    for place, tensor, file in zip(tensors[len(about["inputs"]) :], about["outputs"], job["outputs"]):
        shape, axis = tensor["shape"], tensor.get("open_axis")
        # The lengths of the open axis and of those behind it are in the arena.
        if axis is not None:
            count = len(shape) - axis
            at = arena + tensor["extent"]
            lengths = struct.unpack(f"<{count}q", memory.read(store, at, at + 8 * count))
            shape = shape[:axis] + [min(most, max(0, n)) for most, n in zip(shape[axis:], lengths)]
        size = tensor["bytes"] * math.prod(shape) // max(1, math.prod(tensor["shape"]))
        shapes.append(shape)
        (folder / file).write_bytes(bytes(memory.read(store, place, place + size)))
    (folder / f"{job['name']}.shapes").write_text(json.dumps(shapes))


def main() -> None:
    """Runs all jobs."""
    folder = pathlib.Path(sys.argv[1])
    engine = Engine()
    failures = []
    for job in json.loads((folder / "jobs.json").read_text()):
        try:
            run(engine, folder, job)
        except Exception as error:
            failures.append({"job": job["name"], "error": repr(error)})
    (folder / "failures.json").write_text(json.dumps(failures))


if __name__ == "__main__":
    main()
