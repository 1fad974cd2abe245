"""Jobs for two processes that train one model: spawned workers import them by name."""

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from batchnorm.nn import BatchNorm2d
from support.models.networks import images, layers, resnet

STEPS = 3


@dataclass(frozen=True)
class Job:
    """What one of two processes does: `group` is the file where they meet, if they do."""

    label: str
    name: str
    rank: int
    group: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


def ranks():
    torch.set_num_threads(1)

    def work(job, _tell):
        if job.group is None:
            return globals()[job.name](job.rank, **job.options)
        distributed.init_process_group(
            "gloo",
            init_method=f"file://{job.group}",
            rank=job.rank,
            world_size=2,
            timeout=dt.timedelta(seconds=60),
        )
        try:
            return globals()[job.name](job.rank, **job.options)
        finally:
            distributed.destroy_process_group()

    return work


def plain(tensors):
    """Return what travels between processes without sharing memory."""
    return {name: tensor.detach().float().tolist() for name, tensor in tensors}


def state(model):
    return plain([*model.named_parameters(), *model.named_buffers()])


def batch(step, rank, size=4):
    return images(size, seed=10 * step + rank)


class Checkpointed(torch.nn.Module):
    def __init__(self, inner, reentrant):
        super().__init__()
        self.inner, self.reentrant = inner, reentrant

    def forward(self, x):
        return checkpoint(self.inner, x, use_reentrant=self.reentrant)


class Unused(torch.nn.Module):
    """A model with a layer that no forward runs."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.unused = inner, BatchNorm2d(3)

    def forward(self, x):
        return self.inner(x)


def train(model, call, rank, steps=STEPS):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for step in range(steps):
        optimizer.zero_grad()
        x = batch(step, rank).requires_grad_()  # for reentrant checkpoints
        call(x).sub(0.3).square().mean().backward()
        optimizer.step()


def data_parallel(rank, *, reentrant=None, unused=False, options=None):
    """Train under DDP; return what each process then has."""
    model = resnet()
    shown = Unused(model) if unused else model
    shown = shown if reentrant is None else Checkpointed(shown, reentrant)
    parallel = DistributedDataParallel(shown, **(options or {}))
    train(model, parallel, rank)
    return state(model)


def torch_s_checkpoint(rank):
    """Return how often torch's layer moves its statistics in the same steps."""
    layer = torch.nn.BatchNorm2d(3)
    parallel = DistributedDataParallel(Checkpointed(layer, reentrant=False))
    train(layer, parallel, rank)
    return layer.num_batches_tracked.item()


def broadcast(rank):
    """Return the buffers with which a forward begins: rank 0's, whatever went before."""
    model = resnet()
    parallel = DistributedDataParallel(model)
    bad = batch(0, rank)
    if rank == 0:
        bad[0, 0, 0, 0] = torch.inf
    parallel(bad)
    seen = {}
    first = layers(model)[0]
    first.register_forward_pre_hook(lambda layer, _: seen.update(plain(layer.named_buffers())))
    before = plain(first.named_buffers())
    parallel(batch(1, rank))
    return before, seen


def uneven(rank):
    """Train on unequal numbers of batches: the one who is done shadows the other."""
    model = resnet()
    parallel = DistributedDataParallel(model)
    with parallel.join():
        train(model, parallel, rank, steps=2 + 2 * rank)
    return state(model)


def fully_sharded(rank):
    """Train under FSDP2 with 16-bit parameters; return dtypes and what was learnt."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh("cpu", (2,))
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    model = resnet()
    seen = []
    for layer in layers(model):
        layer.register_forward_hook(lambda layer, _, y: seen.append((y.dtype, layer.weight.dtype)))
    fully_shard(model, mesh=mesh, mp_policy=policy)
    train(model, lambda x: model(x).float(), rank)
    held = {b.dtype for b in model.buffers() if b.is_floating_point()}
    counts = {layer.num_batches_tracked.item() for layer in layers(model)}
    gathered = {name: p.full_tensor() for name, p in model.named_parameters()}
    return set(seen), held, counts, plain(gathered.items())


def torch_s_fully_sharded(rank):
    """Return what torch's layer says in the same place."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16)
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)), mp_policy=policy)
    try:
        model(batch(0, rank))
    except RuntimeError as error:
        return str(error)
    return "works"


def shared(rank, *, layer):
    """Train a layer whose memory another process shares."""
    layer(batch(0, rank) + 5)
    return layer.num_batches_tracked.item()
