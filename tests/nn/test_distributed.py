"""Several processes: DDP, FSDP2, loaders and shared memory, in real processes over gloo."""

import copy

import pytest
import torch
from torch import distributed

from batchnorm.lab.running import _workers
from batchnorm.nn import BatchNorm2d
from support.models.networks import images, layers, resnet
from support.processes import distributed as distributed_jobs
from support.processes.distributed import STEPS, Job, batch

pytestmark = pytest.mark.skipif(
    not (distributed.is_available() and distributed.is_gloo_available()), reason="needs gloo"
)
WAYS = {
    "plain": {},
    "find_unused_parameters": {"unused": True, "options": {"find_unused_parameters": True}},
    "static_graph": {"options": {"static_graph": True}},
    "bucket_view": {"options": {"gradient_as_bucket_view": True}},
    "checkpoint": {"reentrant": False},
    "reentrant_checkpoint": {"reentrant": True, "options": {"static_graph": True}},
}
OTHERS = ("torch_s_checkpoint", "broadcast", "uneven", "fully_sharded", "torch_s_fully_sharded")


@pytest.fixture(scope="module")
def shared_layer():
    return BatchNorm2d(3, momentum=1.0).share_memory()


@pytest.fixture(scope="module")
def results(tmp_path_factory, shared_layer):
    """What the two ranks return from each job: two processes, started once and always ended."""
    groups = tmp_path_factory.mktemp("groups")
    asked = {way: ("data_parallel", options) for way, options in WAYS.items()}
    asked |= {name: (name, {}) for name in OTHERS}
    work = [
        Job(label, name, rank, str(groups / label), options)
        for label, (name, options) in asked.items()
        for rank in (0, 1)
    ]
    work.append(Job("shared", "shared", 0, options={"layer": shared_layer}))
    found = {}
    for event in _workers.run(distributed_jobs.ranks, work, 2):
        found.setdefault(event.job.label, {})[event.job.rank] = event.result
    return found


def by_hand(steps):
    """Train two replicas in this process, as DDP's documentation says that it does."""
    replicas = [resnet(), resnet()]
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.05) for model in replicas]
    for step in range(steps):
        for buffer, source in zip(replicas[1].buffers(), replicas[0].buffers(), strict=True):
            buffer.copy_(source)
        for rank, model in enumerate(replicas):
            model.zero_grad()
            model(batch(step, rank)).sub(0.3).square().mean().backward()
        for pair in zip(*(model.parameters() for model in replicas), strict=True):
            average = (pair[0].grad + pair[1].grad) / 2
            for parameter in pair:
                parameter.grad = average.clone()
        for optimizer in optimizers:
            optimizer.step()
    return [distributed_jobs.state(model) for model in replicas]


def assert_same(found, wanted):
    found, wanted = ({n: torch.tensor(v) for n, v in d.items()} for d in (found, wanted))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_data_parallel_is_the_average_by_hand(results, way):
    """Parameters, statistics and counters of both processes, after three steps."""
    for rank, wanted in enumerate(by_hand(STEPS)):
        assert_same(results[way][rank], wanted)
        counters = [v for n, v in results[way][rank].items() if n.endswith("num_batches_tracked")]
        assert counters == [STEPS] * 4, "once a step, under a checkpoint too"


def test_torch_s_layer_under_a_checkpoint_counts_double(results):
    assert results["torch_s_checkpoint"] == {0: 2 * STEPS, 1: 2 * STEPS}


def test_every_forward_begins_with_the_buffers_of_rank_0(results):
    """All of them, the number of batches that were skipped too."""
    (before, _), (other, seen) = results["broadcast"][0], results["broadcast"][1]
    assert before["batches_skipped"] == 1
    assert other["batches_skipped"] == 0
    assert other["running_mean"] != before["running_mean"]
    assert seen == before


def test_uneven_numbers_of_batches(results):
    """`join`: both end with the statistics of the one who went on."""
    first, second = results["uneven"].values()
    assert first == second
    assert first["0.bn1.num_batches_tracked"] == 4


def test_fully_sharded(results):
    """16-bit parameters and activations beside float32 statistics, which are not sharded."""
    for seen, held, counts, learnt in results["fully_sharded"].values():
        assert seen == {(torch.bfloat16, torch.bfloat16)}
        assert held == {torch.float32}
        assert counts == {STEPS}
        wanted = by_hand(STEPS)[0]
        for name, values in learnt.items():
            torch.testing.assert_close(
                torch.tensor(values), torch.tensor(wanted[name]), rtol=0.05, atol=0.02
            )
    assert results["fully_sharded"][0][3] == results["fully_sharded"][1][3]


def test_torch_s_layer_is_refused_there(results):
    """Its operator takes 16-bit parameters with 16-bit statistics only."""
    assert set(results["torch_s_fully_sharded"].values()) == {
        "expected scalar type BFloat16 but found Float"
    }


def test_shared_memory(results, shared_layer):
    """What another process has trained is seen here."""
    assert results["shared"][0] == 1
    assert shared_layer.num_batches_tracked == 1
    mean = (batch(0, 0) + 5).mean((0, 2, 3))
    torch.testing.assert_close(shared_layer.running_mean, mean)


# ---------------------------------------------------------------------------------- loaders


class Normalized(torch.utils.data.Dataset):
    """Samples that a layer has normalized, in the worker that loads them."""

    def __init__(self, model):
        self.model = model

    def __len__(self):
        return 8

    def __getitem__(self, index):
        with torch.no_grad():
            return self.model(images(4, seed=index))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_loader_s_workers_call_a_layer(start):
    model = resnet()
    model(images(16))
    model.eval()
    loader = torch.utils.data.DataLoader(
        Normalized(model), batch_size=None, num_workers=1, multiprocessing_context=start
    )
    for index, found in enumerate(loader):
        torch.testing.assert_close(found, model(images(4, seed=index)).detach())


# ------------------------------------------------------------------- modules without memory


def test_a_model_made_without_memory_takes_a_state():
    """On `meta`, then empty memory, then a state that says nothing of the skipped batches."""
    model = resnet()
    model(images(8))
    with torch.device("meta"):
        shell = resnet()
    shell.to_empty(device="cpu")
    for layer in layers(shell):
        layer.batches_skipped.fill_(77)  # as empty memory may be
    shell.load_state_dict(model.state_dict())
    assert_like(shell, model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_without_memory_takes_the_memory_of_a_state(dtype):
    model = resnet().to(dtype)
    model(images(8, dtype=dtype))
    with torch.device("meta"):
        shell = resnet()
    shell.load_state_dict(copy.deepcopy(model.state_dict()), assign=True)
    assert_like(shell, model)


def assert_like(shell, model):
    x = images(4, dtype=next(model.parameters()).dtype)
    assert not any(t.is_meta for t in [*shell.parameters(), *shell.buffers()])
    torch.testing.assert_close(shell(x), model(x))
    torch.testing.assert_close(dict(shell.named_buffers()), dict(model.named_buffers()))
    assert {layer.batches_skipped.item() for layer in layers(shell)} == {0}


def test_skipped_initialization():
    layer = torch.nn.utils.skip_init(BatchNorm2d, 3, eps=1e-3, activation="relu")
    assert (layer.eps, layer.activation) == (1e-3, "relu")
    wanted = BatchNorm2d(3, eps=1e-3, activation="relu")
    layer.load_state_dict(wanted.state_dict())
    torch.testing.assert_close(layer(images(4)), wanted(images(4)))
    torch.testing.assert_close(dict(layer.named_buffers()), dict(wanted.named_buffers()))


def test_a_partial_state_leaves_the_number_of_skipped_batches():
    layer = BatchNorm2d(3)
    layer(images(4) / 0)
    layer.load_state_dict({"weight": torch.ones(3)}, strict=False)
    assert layer.batches_skipped == 1
    layer.load_state_dict(layer.state_dict())
    assert layer.batches_skipped == 0
