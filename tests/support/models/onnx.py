"""Models as ONNX Runtime runs them, by either of torch's exporters."""

import io

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

# Of the exporters themselves, under every model.
WARNINGS = [
    "ignore:.isinstance.treespec, LeafSpec.. is deprecated:FutureWarning",
    "ignore:You are using the legacy TorchScript:DeprecationWarning",
    "ignore:The feature will be removed:DeprecationWarning",
    "ignore:Exporting a model while it is in training:UserWarning",
    "ignore:It is recommended that constant folding:UserWarning",
    "ignore:ONNX Preprocess - Removing mutation:UserWarning",
    # In training, torch's layer too looks at its input's size.
    "ignore:Converting a tensor to a Python:torch.jit.TracerWarning",
]
quiet = [pytest.mark.filterwarnings(text) for text in WARNINGS]
dynamo_or_torchscript = pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "script"])


class Exported:
    """A model as ONNX Runtime runs it, of any batch size.

    Args:
        model: the model, or with `dynamo` a program of `torch.export`, then without inputs.
        inputs: examples.
        dynamo: which exporter.
    """

    def __init__(self, model, *inputs, dynamo):
        file = io.BytesIO()
        names = [f"x{number}" for number in range(len(inputs))]
        if dynamo:
            batch = {0: torch.export.Dim("batch", min=2)}
            shapes = {"dynamic_shapes": (batch,) * len(inputs)} if inputs else {}
            torch.onnx.export(model, inputs, dynamo=True, verbose=False, **shapes).save(file)
        else:
            modes = torch.onnx.TrainingMode
            torch.onnx.export(
                model, inputs, file, dynamo=False,
                training=modes.PRESERVE if model.training else modes.EVAL,
                input_names=names, dynamic_axes={name: {0: "batch"} for name in names},
            )  # fmt: skip
        self.graph = onnx.load_from_string(file.getvalue()).graph
        self.session = onnxruntime.InferenceSession(file.getvalue())

    def __call__(self, *inputs):
        found = self.outputs(*inputs)
        assert len(found) == 1
        return found[0]

    def outputs(self, *inputs):
        names = [given.name for given in self.session.get_inputs()]
        given = {name: np.asarray(x) for name, x in zip(names, inputs, strict=True)}
        return [torch.from_numpy(y) for y in self.session.run(None, given)]

    @property
    def operators(self):
        return {node.op_type for node in self.graph.node}
