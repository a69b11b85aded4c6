"""Models of recurrent cells: the basic kernel of LSTM, weights that are inputs, weights that old converters marked as unsigned."""
import numpy as np

from layers import x
from net import ACTIVATIONS, schema

HIDDEN = (1 / 128, 128)
STATE = (2 ** -11, 0)


def basic(scheme, batch=2, features=5, units=6, variables=False, zero=131):
    """LSTM with the basic kernel: input, previous output, weights of all gates, bias and previous state."""
    def make(net):
        columns = features + units
        if scheme == "f32":
            kinds, hidden, state = ("f32", "f32"), None, None
            weights = net.const(net.rng.normal(0, columns ** -0.5, (4 * units, columns)), "f32")
            bias = net.const(net.rng.normal(0, 0.5, 4 * units), "f32")
        else:
            kinds, hidden, state = ("u8", "i16"), HIDDEN, STATE
            weights = net.const(net.rng.integers(0, 256, (4 * units, columns)), "u8", (0.011, zero))
            bias = net.const(net.rng.integers(-9000, 9000, 4 * units), "i32", (0.011 / 128, 0))

        def previous(dtype, q):
            if variables:
                return net.tensor(dtype, (batch, units), q, variable=True)
            return net.input(dtype, (batch, units), q)

        # The state of an input lies between -16 and 16, that of a variable begins with 0.
        parts = [net.input(kinds[0], (batch, features), hidden), previous(kinds[0], hidden), weights, bias, previous(kinds[1], state)]
        gates = (2 ** -12, 0) if state else None
        results = [(kinds[0], hidden), (kinds[1], state), (kinds[0], hidden), (kinds[1], gates)]
        outs = net.op("LSTM", parts, results, "LSTMOptions", fusedActivationFunction=ACTIVATIONS["tanh"],
                      kernelType=schema.LSTMKernelType.BASIC)
        net.outputs(*outs[:2])
    return make


class Weights:
    """Weights of a scheme: constants or inputs."""

    def __init__(self, net, scheme, computed):
        self.net, self.scheme, self.computed = net, scheme, computed

    def matrix(self, *shape):
        dtype = {"f32": "f32", "hybrid": "i8", "hybrid_u8": "u8"}[self.scheme]
        q = None if dtype == "f32" else (0.006, 0)
        if self.computed:
            return self.net.input(dtype, shape, q)
        if dtype == "f32":
            return self.net.const(self.net.rng.normal(0, shape[-1] ** -0.5, shape), "f32")
        signed = self.net.rng.integers(-127, 128, shape).astype(np.int8)
        return self.net.const(signed.view(np.uint8) if dtype == "u8" else signed, dtype, q)

    def vector(self, n):
        return self.net.input("f32", (n,)) if self.computed else self.net.const(self.net.rng.normal(0, 0.3, n), "f32")


def lstm(scheme, computed, batch=2, steps=3, features=5, cells=6, projection=0, asymmetric=False):
    """UNIDIRECTIONAL_SEQUENCE_LSTM whose weights and biases are inputs, or constants."""
    def make(net):
        w, source, out = Weights(net, scheme, computed), x(net, (batch, steps, features)), projection or cells
        parts = [source] + [w.matrix(cells, features) for _ in range(4)] + [w.matrix(cells, out) for _ in range(4)] + [-1] * 3
        parts += [w.vector(cells) for _ in range(4)]
        parts += [w.matrix(projection, cells), w.vector(projection)] if projection else [-1, -1]
        parts += [net.tensor("f32", (batch, n), variable=True) for n in (out, cells)] + [-1] * 4
        net.outputs(net.op("UNIDIRECTIONAL_SEQUENCE_LSTM", parts, ("f32", None), "UnidirectionalSequenceLSTMOptions",
                           fusedActivationFunction=ACTIVATIONS["tanh"], asymmetricQuantizeInputs=asymmetric))
    return make


def rnn(scheme, computed, asymmetric=False):
    """UNIDIRECTIONAL_SEQUENCE_RNN likewise."""
    def make(net):
        w = Weights(net, scheme, computed)
        parts = [x(net, (2, 4, 5)), w.matrix(7, 5), w.matrix(7, 7), w.vector(7), net.tensor("f32", (2, 7), variable=True)]
        net.outputs(net.op("UNIDIRECTIONAL_SEQUENCE_RNN", parts, ("f32", None), "SequenceRNNOptions",
                           fusedActivationFunction=ACTIVATIONS["tanh"], asymmetricQuantizeInputs=asymmetric))
    return make


def svdf(scheme, computed, asymmetric=False):
    """SVDF of rank 2 likewise."""
    def make(net):
        w = Weights(net, scheme, computed)
        parts = [x(net, (3, 5)), w.matrix(8, 5), w.matrix(8, 4), w.vector(4), net.tensor("f32", (3, 32), variable=True)]
        net.outputs(net.op("SVDF", parts, ("f32", None), "SVDFOptions", rank=2, fusedActivationFunction=ACTIVATIONS["none"],
                           asymmetricQuantizeInputs=asymmetric))
    return make


def models():
    """Pairs of name and maker."""
    yield "lstm_basic_f32", basic("f32")
    yield "lstm_basic_f32_variables", basic("f32", variables=True)
    yield "lstm_basic_u8", basic("u8")
    yield "lstm_basic_u8_wide", basic("u8", 3, 40, 24)
    yield "lstm_basic_u8_variables", basic("u8", variables=True, zero=120)
    for name, make in (("lstm", lstm), ("rnn", rnn), ("svdf", svdf)):
        yield f"{name}_f32_computed_weights", make("f32", True)
        yield f"{name}_hybrid_computed_weights", make("hybrid", True)
        yield f"{name}_hybrid_u8", make("hybrid_u8", False)
    yield "lstm_f32_computed_projection", lstm("f32", True, projection=4)
    yield "rnn_hybrid_asymmetric_computed_weights", rnn("hybrid", True, True)
