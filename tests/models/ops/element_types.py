"""Models of operators in element types that are rare: binary64, complex numbers, 16-bit slopes."""
import numpy as np

from layers import add, x
from net import DTYPES
from pointwise import prelu

NUMBERS = ("f32", "f64", "f16", "c64", "i8", "u8", "i16", "u16", "i32", "u32", "i64", "bool")
FACTORS = [1, 3, 100, 200, -300, 4e4, 7e4, 3e9, 5e9, 2e19, -1e30]


def converted(net, value, source, target):
    """A CAST of a value."""
    return net.op("CAST", [value], (target, None), "CastOptions", inDataType=DTYPES[source][0], outDataType=DTYPES[target][0])


def from_floats(source):
    """CAST of floats of all sizes, some beyond every integer, to every type of numbers."""
    def make(net):
        value = add(net, x(net, (9, len(FACTORS))), net.const(np.array(FACTORS), "f32"), "MUL", "MulOptions")
        if source != "f32":
            value = converted(net, value, "f32", source)
        net.outputs(*(converted(net, value, source, target) for target in NUMBERS if target != source))
    return make


def to_wide(target):
    """CAST of every type of numbers to binary64 or to complex numbers."""
    def make(net):
        sources = [s for s in NUMBERS if s != target]
        net.outputs(*(converted(net, net.input(source, (3, 7)), source, target) for source in sources))
    return make


def to_itself(dtype):
    """CAST to the type that the operand has."""
    return lambda net: net.outputs(converted(net, net.input(dtype, (5, 3)), dtype, dtype))


def complex_product(a, b, constant=False):
    """MUL of complex numbers."""
    def make(net):
        right = net.input("c64", b)
        if constant:
            right = net.const(net.rng.normal(0, 1, b) + 1j * net.rng.normal(0, 1, b), "c64")
        net.outputs(net.op("MUL", [net.input("c64", a), right], ("c64", None), "MulOptions"))
    return make


def of_binary64(code, options=None, result="f64", operands=1, **fields):
    """An operator of inputs in binary64."""
    def make(net):
        values = [net.input("f64", (3, 17)) for _ in range(operands)]
        net.outputs(net.op(code, values, (result, None), options, **fields))
    return make


def atan2(dtype):
    """ATAN2 of two inputs."""
    return lambda net: net.outputs(net.op("ATAN2", [net.input(dtype, (4, 9)) for _ in range(2)], (dtype, None), "ATan2Options"))


def complex_part(code, dtype):
    """REAL, IMAG or COMPLEX_ABS."""
    return lambda net: net.outputs(net.op(code, [net.input(dtype, (3, 11))], ({"c64": "f32", "c128": "f64"}[dtype], None)))


def models():
    """Pairs of name and maker."""
    for source in ("f32", "f64", "f16", "c64"):
        yield f"cast_{source}_numbers", from_floats(source)
    for target in ("f64", "c64"):
        yield f"cast_numbers_{target}", to_wide(target)
    yield "cast_c64_c64", to_itself("c64")
    yield "mul_c64", complex_product((4, 5), (4, 5))
    yield "mul_c64_broadcast", complex_product((2, 1, 5), (3, 1))
    yield "mul_c64_constant", complex_product((2, 3, 5), (5,), True)
    yield "sign_f64", of_binary64("SIGN", "SignOptions")
    yield "bucketize_f64", of_binary64("BUCKETIZE", "BucketizeOptions", "i32", boundaries=[-0.5, 0.0, 0.1, 0.25])
    for code in ("ADD", "MULTIPLY", "MAXIMUM", "MINIMUM"):
        yield f"stablehlo_{code.lower()}_f64", of_binary64(f"STABLEHLO_{code}", operands=2)
    for dtype in ("f16", "f64"):
        yield f"atan2_{dtype}", atan2(dtype)
    for code in ("REAL", "IMAG", "COMPLEX_ABS"):
        yield f"{code.lower()}_c128", complex_part(code, "c128")
    yield "prelu_i16", prelu((1, 5, 6, 7), (1, 1, 7), "i16")
