"""Runs a shared library of the model `digits` by ctypes and the layout that tflc.h documents: abi.py LIBRARY. Prints the scores."""

import ctypes
import sys

FIELDS = [(n, ctypes.c_uint32) for n in ("magic", "abi_version", "descriptor_bytes")] + [("invoke", ctypes.c_int32)]
FIELDS += [(n, ctypes.c_uint64) for n in ("arena_bytes", "state_bytes", "weights_bytes")]
FIELDS += [(n, ctypes.c_uint32) for n in ("weights_crc32", "flags", "alignment", "input_count", "inputs", "output_count", "outputs",
                                          "name", "cpu", "key", "signature_count", "signatures")]


class Model(ctypes.Structure):
    _fields_ = FIELDS


class Tensor(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint64), ("length", ctypes.c_uint64), ("name", ctypes.c_uint32), ("dtype", ctypes.c_uint32), ("rank", ctypes.c_uint32),
                ("shape", ctypes.c_uint32), ("scale", ctypes.c_float), ("zero_point", ctypes.c_int32),
                ("axis", ctypes.c_uint32), ("reserved", ctypes.c_uint32)]


def main():
    library = ctypes.CDLL(sys.argv[1])
    library.digits_model.restype = ctypes.c_void_p
    base = library.digits_model()
    model = Model.from_address(base)
    assert model.magic.to_bytes(4, "little") == b"tflc" and model.abi_version == 3, (model.magic, model.abi_version)
    assert ctypes.string_at(base + model.name) == b"digits"
    tensors = [Tensor.from_address(base + at) for at in (model.inputs, model.outputs)]
    assert [t.bytes for t in tensors] == [1024, 10]
    arena = ctypes.create_string_buffer(model.arena_bytes + 64)
    aligned = -(-ctypes.addressof(arena) // 64) * 64
    image = (ctypes.c_int8 * 1024)(*[(i * 37 + 128) % 256 - 128 for i in range(1024)])
    scores = (ctypes.c_int8 * 10)()
    pointers = [(ctypes.c_void_p * 1)(ctypes.addressof(buffer)) for buffer in (image, scores)]
    invoke = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_void_p] * 5)(base + model.invoke)
    assert invoke(aligned, None, *pointers, None) == 0
    assert invoke(aligned + 1, None, *pointers, None) == 1
    print("".join(f"{s} " for s in scores))


main()
