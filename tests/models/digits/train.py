#!/usr/bin/env python3
"""Trains the handwritten-digit classifier of this folder and exports it (pip install -r requirements.txt).

usage: train.py            (about two minutes; writes its results beside itself, and the accuracies to stdout)

Data: the 1,797 scanned digits that come with scikit-learn, 8x8 pixels with 17 grey levels, enlarged to 32x32 pixels
with 256; every fifth one is held back for testing. Seeds are fixed and TensorFlow's deterministic kernels are on, so
the same versions on the same processor make the same files.
"""
import os
import pathlib
import sys
import zipfile

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
import numpy as np
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_digits

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import golden

SIZE = 32
EXAMPLES = 5  # images kept as files


def load():
    """(images uint8 [N, 32, 32, 1], labels, native uint8 [N, 8, 8]); light ink on a dark ground."""
    digits = load_digits()
    native = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    big = [np.asarray(Image.fromarray(x).resize((SIZE, SIZE), Image.Resampling.BILINEAR)) for x in native]
    return np.stack(big)[..., None], digits.target.astype(np.int32), native


def network(batch=None):
    """A small convolutional network: convolution, pooling, depthwise-separable blocks, a residual sum, mean, softmax."""
    layers = tf.keras.layers

    def block(x, channels, stride):
        x = layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False)(x)
        x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
        return layers.BatchNormalization()(layers.Conv2D(channels, 1, use_bias=False)(x))

    image = tf.keras.Input((SIZE, SIZE, 1), batch_size=batch, name="image")
    x = layers.Conv2D(16, 3, padding="same", use_bias=False)(image)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.MaxPooling2D()(x)
    x = layers.ReLU(6.0)(block(x, 32, 2))
    x = layers.ReLU(6.0)(layers.Add()([x, block(x, 32, 1)]))
    x = layers.ReLU(6.0)(block(x, 64, 2))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.2)(x)
    x = layers.Dense(48, activation="relu")(x)
    return tf.keras.Model(image, layers.Dense(10, activation="softmax", name="class")(x))


def varied(images, rng):
    """Every image shifted, turned and scaled a little, at random."""
    middle = SIZE / 2
    result = np.empty_like(images)
    for i, image in enumerate(images[..., 0]):
        angle, zoom = rng.uniform(-0.25, 0.25), rng.uniform(0.9, 1.15)
        c, s = np.cos(angle) * zoom, np.sin(angle) * zoom
        dx, dy = rng.uniform(-3, 3, 2)
        matrix = (c, s, middle - c * middle - s * middle + dx, -s, c, middle + s * middle - c * middle + dy)
        result[i, ..., 0] = Image.fromarray(image).transform((SIZE, SIZE), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    return result


def train(model, images, labels):
    """Fits the model on varied copies of the images, with a falling learning rate."""
    epochs, batch, rng = 60, 64, np.random.default_rng(4)
    steps = len(images) // batch
    rate = tf.keras.optimizers.schedules.CosineDecay(4e-3, epochs * steps)
    model.compile(tf.keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    for _ in range(epochs):
        order, x = rng.permutation(len(images)), varied(images, rng) / np.float32(255)
        for i in range(steps):
            part = order[i * batch:(i + 1) * batch]
            model.train_on_batch(x[part], labels[part])


def export(model, images, kind):
    """The bytes of the .tflite file, with a batch of one; `kind` is f32 or int8 (int8 inputs and outputs as well)."""
    single = network(batch=1)
    single.set_weights(model.get_weights())
    converter = tf.lite.TFLiteConverter.from_keras_model(single)
    if kind == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([x[None] / np.float32(255)] for x in images[:400])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def accuracy(path, images, labels):
    """Share of the test images that LiteRT classifies correctly."""
    from ai_edge_litert.interpreter import Interpreter
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    [entry], [result] = interpreter.get_input_details(), interpreter.get_output_details()
    right = 0
    for x, y in zip(images, labels):
        interpreter.set_tensor(entry["index"], quantized(x[None], entry))
        interpreter.invoke()
        right += int(interpreter.get_tensor(result["index"]).argmax() == y)
    return right / len(labels)


def quantized(image, detail):
    """An image of bytes as the input tensor `detail` wants it: [0, 1], through scale and zero point where it has them."""
    x = image / np.float32(255)
    scale, zero_point = detail["quantization"]
    if not scale:
        return x
    info = np.iinfo(detail["dtype"])
    return np.clip(np.rint(x / scale) + zero_point, info.min, info.max).astype(detail["dtype"])


def main():
    tf.keras.utils.set_random_seed(20)
    tf.config.experimental.enable_op_determinism()
    images, labels, native = load()
    test = np.arange(len(labels)) % 5 == 0
    model = network()
    train(model, images[~test], labels[~test])

    picks = [int(np.flatnonzero(test & (labels == n))[3]) for n in (3, 7, 0, 5, 8)][:EXAMPLES]
    for old in HERE.glob("digit_*.png"):
        old.unlink()
    for i in picks:
        Image.fromarray(images[i, ..., 0]).save(HERE / f"digit_{labels[i]}.png", optimize=True)
    # One at the scanner's own size and one in colour, enlarged, as JPEG: both have to be brought to 32x32 grey pixels.
    Image.fromarray(native[picks[0]]).save(HERE / f"digit_{labels[picks[0]]}_8x8.png", optimize=True)
    large = Image.fromarray(images[picks[1], ..., 0]).resize((160, 160), Image.Resampling.BICUBIC)
    large.convert("RGB").save(HERE / f"digit_{labels[picks[1]]}_large.jpg", quality=85)

    for kind in ("f32", "int8"):
        path = HERE / f"digits_{kind}.tflite"
        path.write_bytes(export(model, images[~test], kind))
        with zipfile.ZipFile(path, "a") as attached:  # where TensorFlow Lite metadata keeps label files
            attached.writestr(zipfile.ZipInfo("labels.txt"), (HERE / "labels.txt").read_bytes())
        share = accuracy(path, images[test], labels[test])
        from ai_edge_litert.interpreter import Interpreter
        [detail] = Interpreter(str(path)).get_input_details()
        golden.write(path, {detail["name"]: quantized(images[picks[0]][None], detail)})
        print(f"{path.name}: {share:.2%} of {test.sum()} test images, {path.stat().st_size} bytes, input {detail['name']}")


if __name__ == "__main__":
    main()
