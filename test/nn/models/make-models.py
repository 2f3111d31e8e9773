"""Makes the model files of the teacher tests, by TensorFlow, the TensorFlow.js converter and the onnx package.

    python -m venv venv && . venv/bin/activate
    pip install tensorflow-cpu==2.21.0 tf_keras==2.21.0 onnx==1.23.2 && pip install --no-deps tensorflowjs==4.22.0 tensorflow-hub packaging
    TF_USE_LEGACY_KERAS=1 python make-models.py

One network in five files: 8 x 8 pixels, convolution, batch norm with statistics of its own, ReLU, mean, dense to
5 classes. `reference.json` holds an input and the logits that Keras and the ONNX reference evaluator gave for it.
"""

import json
import os
import shutil
import sys
import types

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import onnx
import tensorflow as tf
import tf_keras as keras
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

# The converter imports decision forests and jax for models that are not made here.
for name in ["tensorflow_decision_forests", "jax", "jax.experimental", "jax.experimental.jax2tf"]:
    sys.modules.setdefault(name, types.ModuleType(name))
sys.modules["jax.experimental"].jax2tf = sys.modules["jax.experimental.jax2tf"]
np.object, np.bool = object, bool  # Names that the converter uses and NumPy dropped.

import tensorflowjs as tfjs  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
SIZE, CLASSES, WIDTH, COUNT = 8, 5, 4, 3


def network():
    keras.utils.set_random_seed(7)
    return keras.Sequential([
        keras.layers.Input((SIZE, SIZE, 3)),
        keras.layers.Conv2D(WIDTH, 3, strides=2, padding="same", bias_initializer="random_normal"),
        keras.layers.BatchNormalization(
            gamma_initializer=keras.initializers.RandomUniform(0.5, 1.5),
            moving_mean_initializer="random_normal",
            moving_variance_initializer=keras.initializers.RandomUniform(0.5, 1.5)),
        keras.layers.ReLU(),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(CLASSES, bias_initializer="random_normal"),
    ])


def onnx_model(weights, layout):
    """The same network in ONNX; with layout nhwc it transposes its input itself."""
    kernel, bias, gamma, beta, mean, variance, head, head_bias = weights
    named = {
        "kernel": kernel.transpose(3, 2, 0, 1), "bias": bias, "gamma": gamma, "beta": beta,
        "mean": mean, "variance": variance, "head": head, "head_bias": head_bias,
    }
    nodes = [
        # TensorFlow's "same" of an even size at stride 2 pads below and to the right only.
        helper.make_node("Conv", ["images", "kernel", "bias"], ["c"], strides=[2, 2], pads=[0, 0, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "gamma", "beta", "mean", "variance"], ["n"], epsilon=1e-3),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "head", "head_bias"], ["logits"]),
    ]
    shape = ["batch", 3, SIZE, SIZE]
    name = "images"
    if layout == "nhwc":
        name, shape = "nhwc", ["batch", SIZE, SIZE, 3]
        nodes.insert(0, helper.make_node("Transpose", ["nhwc"], ["images"], perm=[0, 3, 1, 2]))
    graph = helper.make_graph(
        nodes, "tiny",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in named.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def fresh(name):
    path = os.path.join(HERE, name)
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    return path


def main():
    model = network()
    images = np.random.default_rng(5).normal(size=(COUNT, SIZE, SIZE, 3)).astype(np.float32)
    logits = {"keras": model(images, training=False).numpy()}

    model.export(fresh("saved-model"))
    for extra in ["fingerprint.pb", "keras_metadata.pb"]:
        path = os.path.join(HERE, "saved-model", extra)
        if os.path.exists(path):
            os.remove(path)
    shutil.rmtree(os.path.join(HERE, "saved-model", "assets"), ignore_errors=True)
    tfjs.converters.save_keras_model(model, fresh("layers-model"))
    tfjs.converters.convert_tf_saved_model(os.path.join(HERE, "saved-model"), fresh("graph-model"))

    for layout in ["nchw", "nhwc"]:
        made = onnx_model(model.get_weights(), layout)
        onnx.save(made, os.path.join(fresh(f"onnx-{layout}"), "model.onnx"))
        given = images if layout == "nhwc" else images.transpose(0, 3, 1, 2)
        (found,) = ReferenceEvaluator(made).run(None, {made.graph.input[0].name: given})
        logits[f"onnx-{layout}"] = found
        np.testing.assert_allclose(found, logits["keras"], atol=1e-5)

    rows = lambda a: [[round(float(x), 7) for x in r] for r in a.reshape(len(a), -1)]
    with open(os.path.join(HERE, "reference.json"), "w") as file:
        json.dump({"images": rows(images), "logits": {k: rows(v) for k, v in logits.items()}}, file)
        file.write("\n")


main()
