"""What each of two processes does in the tests of distributed recalibration.

Started as ``python two_ranks.py RANK FOLDER``; leaves what it found in ``FOLDER/RANK.pt``.
"""

import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import batchnorm
from batchnorm.surgery import adapt, recalibrate

ROWS = ((64, 7, 29), (4,))  # batches of the first and of the second rank


def batches(rank):
    g = torch.Generator().manual_seed(rank)
    return [
        torch.randn(n, 3, generator=g) * (number + 1) + 10 * rank
        for number, n in enumerate(ROWS[rank])
    ]


def network(norm=nn.BatchNorm1d):
    g = torch.Generator().manual_seed(0)
    model = nn.Sequential(norm(3), nn.Linear(3, 4), norm(4))
    for parameter in model[1].parameters():
        parameter.data = torch.randn(parameter.shape, generator=g)
    return model


def failing(data, rank):
    yield data[0]
    if rank == 1:
        raise KeyError("the data end")


def error_of(function):
    try:
        function()
    except Exception as error:  # noqa: BLE001 -- told to the test
        return f"{type(error).__name__}: {error}"
    return None


def found(rank):
    """Return the state after each operation, and the errors."""
    data, states = batches(rank), {}
    for method in ("exact", "algorithm-2"):
        for layer_by_layer in (False, True):
            model = network()
            recalibrate(model, data, method=method, layer_by_layer=layer_by_layer)
            states[f"{method}, layer by layer {layer_by_layer}"] = model.state_dict()
    for norm in (nn.SyncBatchNorm, batchnorm.nn.BatchNorm1d):
        model = network(norm)
        recalibrate(model, data)
        states[f"{norm.__module__}.{norm.__name__}"] = model.state_dict()
    wrapped = DistributedDataParallel(network())
    recalibrate(wrapped, data)
    states["DistributedDataParallel"] = wrapped.module.state_dict()
    model = network()
    recalibrate(model, data if rank == 0 else [], layer_by_layer=True)
    states["no data in one"] = model.state_dict()
    model = network()
    adapt(model, data, source_weight=50.0)
    states["adapt"] = model.state_dict()
    alone = network()
    recalibrate(alone, data, distributed=False)
    broken = network()
    errors = {
        "data": error_of(lambda: recalibrate(broken, failing(data, rank))),
        "layer by layer": error_of(
            lambda: recalibrate(
                broken,
                data if rank == 0 else [torch.full((4, 3), torch.nan)],
                layer_by_layer=True,
            )
        ),
        "nothing": error_of(lambda: recalibrate(broken, [])),
    }
    return {
        "states": states,
        "alone": alone.state_dict(),
        "broken": broken.state_dict(),
        "errors": errors,
    }


def main():
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/rendezvous",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=60),
    )
    try:
        torch.save(found(rank), folder / f"{rank}.pt")
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
