"""Small studies for the tests: spawned workers import them by the name of this file."""

from functools import partial

import torch
from torch import nn

from batchnorm import lab
from batchnorm.lab.networks import mlp


def measure(trial, task, generator):
    drawn = torch.rand(2, generator=generator).tolist()
    return {
        "double": 2 * trial["x"],
        "drawn": drawn,
        "endless": float("inf"),
        "examples": len(task.train_x),
    }


def forgetful(trial, task, generator):
    return {"double": 1.0}


def nothing(results):
    raise NotImplementedError


KEYS = ("double", "drawn", "endless", "examples")


def measured(function=measure):
    return lab.Study(
        name="measured",
        title="A measured study",
        question="?",
        claims=("C7",),
        arms=(lab.Arm("one", "one"), lab.Arm("two", "two", settings={"x": 7.0})),
        axes={"y": "Y"},
        work=lab.Measuring(function, KEYS),
        plans={
            ("drawn", "quick"): lab.Plan(seeds=2, grid={"y": (1, 2, 0.5)}, fixed={"x": 3.0}),
            ("digits", "quick"): lab.Plan(seeds=1, fixed={"x": 3.0}),
        },
        findings=nothing,
    )


NOISY = lab.Study(
    name="noisy-training",
    title="Dropout, momentum, decay and few examples",
    question="?",
    claims=("C5",),
    arms=(
        lab.Arm(
            "noisy",
            "noisy",
            partial(mlp, activation=nn.ReLU, norm="noisy"),
            settings={"dropout": 0.3, "momentum": 0.9, "decay": 1e-3, "train": 200},
        ),
    ),
    axes={"rate": "Learning rate"},
    work=lab.Training(),
    plans={
        ("digits", "quick"): lab.Plan(
            seeds=2, grid={"rate": (0.01,)}, fixed={"batch": 20, "width": 20}, steps=60
        )
    },
    findings=nothing,
)
