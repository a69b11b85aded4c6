"""Compares the time to a first result: a library that tflc compiled, from dlopen, with LiteRT, from the opening of the model file.

    first_result.py TFLC MODEL.tflite [PAIRS]

Each measurement is a process of its own with one thread; those of the two sides alternate, and medians of the pairs are printed. Processor time
is what a machine that others use still measures well; waiting time is printed beside it. Python's start and imports count on neither side.
Needs `cc`, `pip install ai-edge-litert numpy`."""

import pathlib
import statistics
import subprocess
import sys
import tempfile

LITERT = """
import sys, time
import numpy as np
from ai_edge_litert.interpreter import Interpreter
cpu, wall = time.process_time(), time.perf_counter()
model = Interpreter(model_path=sys.argv[1], num_threads=1)
model.allocate_tensors()
for x in model.get_input_details():
    model.set_tensor(x["index"], np.zeros(x["shape"], x["dtype"]))
model.invoke()
results = [model.get_tensor(y["index"]) for y in model.get_output_details()]
cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
later = []
for _ in range(10):
    start = time.process_time()
    model.invoke()
    later.append(time.process_time() - start)
print(cpu * 1e3, wall * 1e3, min(later) * 1e3)
"""


def numbers(command):
    return [float(word) for word in subprocess.check_output(command, stderr=subprocess.DEVNULL).split()]


def main():
    tflc, model, pairs = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 15
    here = pathlib.Path(__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        subprocess.check_call([tflc, model, "--emit", "cdylib", "--name", "m", "-o", folder], stderr=subprocess.DEVNULL)
        program = folder + "/first_result"
        include = here.parent.parent / "runtime-min/include"
        subprocess.check_call(["cc", "-O2", f"-I{include}", str(here / "first_result.c"), "-o", program, "-ldl"])
        plain = [program, folder + "/libm.so", "m_model"]
        sides = {"litert": [sys.executable, "-c", LITERT, model], "tflc": plain, "tflc, large pages": plain + ["large"]}
        rows = {side: [] for side in sides}
        for _ in range(pairs):
            for side, command in sides.items():
                rows[side].append(numbers(command))
    litert = [statistics.median(column) for column in zip(*rows["litert"])]
    print(f"litert: {litert[0]:.2f} ms of processor time, {litert[1]:.2f} ms; a later run {litert[2]:.2f} ms")
    for side in list(sides)[1:]:
        cpu, wall, faults, later = [statistics.median(column) for column in zip(*rows[side])]
        ratio = statistics.median(a[0] / b[0] for a, b in zip(rows["litert"], rows[side]))
        waiting = statistics.median(a[1] / b[1] for a, b in zip(rows["litert"], rows[side]))
        print(f"{side}: {cpu:.2f} ms of processor time, {wall:.2f} ms, {faults:.0f} page faults; a later run {later:.2f} ms")
        print(f"    first result {ratio:.2f} times as soon by processor time, {waiting:.2f} times by the clock")


main()
