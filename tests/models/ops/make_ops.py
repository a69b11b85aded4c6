#!/usr/bin/env python3
"""Makes the small models of this folder, with LiteRT's answers (pip install ai-edge-litert numpy flatbuffers).

usage: make_ops.py [NAME ...]        (all models where no name is given; about three minutes)

Writes NAME.tflite and NAME.npz (see ../golden.py) for every model of linear.py, pointwise.py, movement.py, rare.py, networks.py, quantized.py,
open_sizes.py, element_types.py, cells.py, halves.py and packed.py, and removes models that those no longer name. Random numbers depend on the model's name alone.
"""
import pathlib
import sys
import zlib

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import golden
import cells
import element_types
import halves
import linear
import movement
import networks
import open_forms
import open_sizes
import packed
import pointwise
import quantized
import rare
from net import Net


def main():
    wanted, makers = sys.argv[1:], {}
    for family in (linear, pointwise, movement, rare, networks, quantized, open_sizes, open_forms, element_types, cells, halves, packed):
        for name, make in family.models():
            assert name not in makers, name
            makers[name] = make
    refused = []
    for name in wanted or makers:
        path = HERE / f"{name}.tflite"
        net = Net(zlib.crc32(name.encode()))
        try:
            makers[name](net)
            net.save(path)
            golden.write(path)
        except RuntimeError as error:
            path.unlink(missing_ok=True)
            refused.append(f"{name}: {error}")
    for path in HERE.glob("*.tflite"):
        if path.stem not in makers:
            path.unlink()
            path.with_suffix(".npz").unlink(missing_ok=True)
    print(f"{len(wanted or makers) - len(refused)} models made")
    for line in refused:
        print("refused by LiteRT:", line)
    sys.exit(1 if refused else 0)


if __name__ == "__main__":
    main()
