"""ONNX: beside its reference evaluator and onnxruntime, and what is refused."""

import numpy as np
import pytest
import torch

from batchnorm import nn
from batchnorm.errors import OptionError
from batchnorm.integrations import from_onnx, from_onnx_node, to_onnx
from support.layers.cases import SHAPES, Case
from support.layers.laws import array, assert_close

onnx = pytest.importorskip("onnx", reason="the operator's own package is not installed")

NAMES = ["scale", "B", "input_mean", "input_var"]
SINGLE = {"epsilon": float(np.float32(1e-3)), "momentum": float(np.float32(0.8))}


def inputs_of(channels, dtype=np.float64):
    rng = np.random.default_rng(5)
    return {name: rng.uniform(0.5, 2.0, channels).astype(dtype) for name in NAMES}


def model_of(attributes, inputs, shape, opset=15):
    """Return a model whose only node is a batch normalization."""
    kind = onnx.helper.np_dtype_to_tensor_dtype(inputs["scale"].dtype)
    training = attributes.get("training_mode", 0)
    outputs = {"Y": shape} | ({"mean": shape[1:2], "var": shape[1:2]} if training else {})
    node = onnx.helper.make_node("BatchNormalization", ["X", *inputs], [*outputs], **attributes)
    graph = onnx.helper.make_graph(
        [node],
        "one",
        [onnx.helper.make_tensor_value_info("X", kind, shape)],
        [onnx.helper.make_tensor_value_info(name, kind, size) for name, size in outputs.items()],
        [onnx.numpy_helper.from_array(value, name) for name, value in inputs.items()],
    )
    # The oldest version of the container that goes with the opset; onnxruntime wants no newer one.
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8
    )
    onnx.checker.check_model(model)
    return model


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_trains_as_the_operator_does(shape):
    from onnx.reference import ReferenceEvaluator

    inputs = inputs_of(shape[1])
    attributes = SINGLE | {"training_mode": 1}
    ours = from_onnx(attributes, *inputs.values(), ndim=len(shape))
    assert ours.training
    for step in range(10):
        x = Case(shape).x(seed=step)
        model = model_of(attributes, inputs, shape)
        y, inputs["input_mean"], inputs["input_var"] = ReferenceEvaluator(model).run(
            None, {"X": x.numpy()}
        )
        assert_close(array(ours(x)), y, torch.float64, "output")
        if step in {0, 1, 9}:
            assert_close(array(ours.running_mean), inputs["input_mean"], torch.float64, "mean")
            assert_close(array(ours.running_var), inputs["input_var"], torch.float64, "var")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_infers_as_onnxruntime_does(shape):
    runtime = pytest.importorskip("onnxruntime", reason="the peer is not installed")
    inputs, x = inputs_of(shape[1], np.float32), Case(shape, dtype=torch.float32).x()
    model = model_of({"epsilon": 1e-3}, inputs, shape)
    (y,) = runtime.InferenceSession(model.SerializeToString()).run(None, {"X": x.numpy()})
    ours = from_onnx_node(model.graph.node[0], model.graph.initializer, ndim=len(shape))
    assert not ours.training
    assert_close(array(ours(x)), y, torch.float32, "output", looser=4)


@pytest.mark.parametrize("opset", [9, 14, 15])
def test_a_node_and_its_arrays(opset):
    inputs = inputs_of(3, np.float32)
    model = model_of({"epsilon": 1e-4, "momentum": 0.99}, inputs, (4, 3, 5), opset)
    ours = from_onnx_node(model.graph.node[0], model.graph.initializer, ndim=3)
    assert (ours.eps, ours.momentum) == (1e-4, 0.01)
    by_name = from_onnx_node(model.graph.node[0], inputs, ndim=3)
    plain = from_onnx({"epsilon": 1e-4, "momentum": 0.99}, *inputs.values(), ndim=3)
    for other in (by_name, plain):
        assert repr(other) == repr(ours)
        assert all(torch.equal(v, ours.state_dict()[k]) for k, v in other.state_dict().items())


def test_defaults_are_those_of_the_operator():
    layer = from_onnx({}, *inputs_of(3).values(), ndim=4)
    schema = onnx.defs.get_schema("BatchNormalization", 15, "")
    defaults = {name: value.default_value for name, value in schema.attributes.items()}
    assert np.float32(layer.eps) == np.float32(defaults["epsilon"].f)
    assert np.float32(1 - layer.momentum) == np.float32(defaults["momentum"].f)
    assert layer.training == bool(defaults["training_mode"].i)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "layer",
    [nn.BatchNorm2d(3), nn.BatchNorm2d(3, affine=False), nn.BatchNorm2d(3, bias=False)],
    ids=["affine", "affine=False", "bias=False"],
)
def test_onnx_does_what_ours_did(layer, training):
    from onnx.reference import ReferenceEvaluator

    shape = (4, 3, 5, 6)
    for step in range(3):
        layer.train()(Case(shape, dtype=torch.float32).x(seed=step))
    attributes, inputs = to_onnx(layer.train(training))
    x = Case(shape, dtype=torch.float32).x(seed=4)
    y = ReferenceEvaluator(model_of(attributes, inputs, shape)).run(None, {"X": x.numpy()})[0]
    assert_close(array(layer(x)), y, torch.float32, looser=4)


def test_there_and_back():
    before = {"epsilon": 1e-5, "momentum": 0.9, "training_mode": 1}, inputs_of(3)
    after = to_onnx(from_onnx(before[0], *before[1].values(), ndim=4))
    assert after[0] == before[0]
    assert list(after[1]) == NAMES
    for name, value in before[1].items():
        np.testing.assert_array_equal(after[1][name], value)


def test_a_frozen_layer_does_not_train():
    assert to_onnx(nn.BatchNorm2d(3).train())[0]["training_mode"] == 1
    assert to_onnx(nn.BatchNorm2d(3).freeze().train())[0]["training_mode"] == 0


def test_old_opsets_and_other_nodes_are_refused():
    values = inputs_of(3).values()
    for old in ({"spatial": 0}, {"is_test": 1}, {"consumed_inputs": [0, 0]}):
        with pytest.raises(OptionError, match=f"got {next(iter(old))}: bring an older model"):
            from_onnx(old, *values, ndim=4)
    relu = onnx.helper.make_node("Relu", ["X"], ["Y"], name="last")
    with pytest.raises(OptionError, match="got the node 'last' of type Relu: pick"):
        from_onnx_node(relu, {}, ndim=4)
    node = onnx.helper.make_node("BatchNormalization", ["X", *NAMES], ["Y"])
    with pytest.raises(OptionError, match=r"got none for B, input_var: .* fold what computes them"):
        from_onnx_node(node, {"scale": np.ones(3), "input_mean": np.ones(3)}, ndim=4)
