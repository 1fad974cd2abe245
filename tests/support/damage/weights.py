"""Weights files that are none, or of a kind that no model takes; some would run code."""

import io
import json
import pickle
import warnings
import zipfile
from functools import cache
from pathlib import Path

import torch
from torch import nn

CANARY = "canary"


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


class Malicious:
    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return (open, (self.canary, "w"))


def saved(value):
    held = io.BytesIO()
    torch.save(value, held)
    return held.getvalue()


def safetensors(header, data=b""):
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(head).to_bytes(8, "little") + head + data


def _quantized(weight):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch is about to drop it; files of it stay
        return torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8)


def _zip_of(pickled):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
    return held.getvalue()


@cache
def odd_files(folder: Path):
    """Return files by name: those of `torch.save`, and safetensors."""
    state = network().state_dict()
    weight = state["0.weight"]
    cyclic = {}
    cyclic["state_dict"] = cyclic
    evil = Malicious(folder / CANARY)

    def with_weight(value):
        return saved({**state, "0.weight": value})

    def headed(**entry):
        return safetensors(
            {"0.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} | entry}, b"1234"
        )

    return {
        "empty.pt": b"",
        "zeros.pt": b"\0" * 100,
        "text.pt": b"hello",
        "half.pt": saved(state)[: len(saved(state)) // 2],
        "evil.pt": saved(evil),
        "evil_pickle.pt": pickle.dumps(evil, protocol=2),
        "evil_state.pt": saved({"state_dict": state, "extra": evil}),
        "evil_zip.pt": _zip_of(pickle.dumps(evil, protocol=2)),
        "empty_zip.pt": _zip_of(b""),
        "whole_model.pt": saved(network()),
        "tensor.pt": saved(weight),
        "number.pt": saved(3),
        "list.pt": saved([weight]),
        "nothing.pt": saved({}),
        "cyclic.pt": saved(cyclic),
        "keys.pt": saved({3: weight, None: weight}),
        "values.pt": saved({**state, "0.weight": "word"}),
        "nested.pt": saved({"a": {"b": {"c": state}}}),
        "two_networks.pt": saved({"generator": state, "critic": state}),
        "complex.pt": with_weight(weight.to(torch.complex64)),
        "sparse.pt": with_weight(weight.to_sparse()),
        "quantized.pt": with_weight(_quantized(weight)),
        "whole_numbers.pt": with_weight(weight.to(torch.int8)),
        "meta.pt": with_weight(weight.to("meta")),
        "huge.pt": with_weight(torch.zeros(1).expand(10**6, 10**6, 10**6)),
        "no_axes.pt": with_weight(torch.tensor(1.0)),
        "empty.safetensors": b"",
        "short.safetensors": b"\1\0\0",
        "long_header.safetensors": (2**62).to_bytes(8, "little") + b"{}",
        "no_json.safetensors": safetensors(b"\xff{{"),
        "deep.safetensors": safetensors(b"[" * 100_000),
        "beyond.safetensors": headed(data_offsets=[0, 10**12]),
        "backwards.safetensors": headed(data_offsets=[4, 0]),
        "negative.safetensors": headed(shape=[-1]),
        "enormous.safetensors": headed(shape=[10**15, 10**15]),
        "unknown.safetensors": headed(dtype="F1"),
        "words.safetensors": headed(shape="many"),
    }
