"""Pooled statistics are those of all data together."""

import pytest
import torch

import batchnorm
from batchnorm.errors import BatchNormError, ChannelError, CountError, OptionError, SurgeryError
from batchnorm.surgery import pool_statistics

SIZES = (7, 40, 2)


def network(kind, **options):
    return torch.nn.Sequential(torch.nn.Conv2d(1, 3, 1), kind(3, **options))


def parts():
    g = torch.Generator().manual_seed(0)
    return [(torch.randn(n, 1, 4, 5, generator=g) + 10 * k).double() for k, n in enumerate(SIZES)]


KINDS = {
    "torch": (torch.nn.BatchNorm2d, {"momentum": None}, 1),
    "ours": (batchnorm.nn.BatchNorm2d, {"momentum": None}, 1),
    "biased": (batchnorm.nn.BatchNorm2d, {"momentum": None, "correction": 0}, 0),
    "debias": (batchnorm.nn.BatchNorm2d, {"momentum": 0.1, "debias": True}, 1),
}


@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize("name", KINDS)
def test_they_are_those_of_all_data(name, by_name):
    kind, options, correction = KINDS[name]
    server = network(kind, **options).double()
    clients = []
    for part in parts():
        client = network(kind, **options).double()
        client[0].load_state_dict(server[0].state_dict())
        client(part)
        clients.append(client)
    counts = [{"1": 20 * n} if by_name else 20 * n for n in SIZES]
    record = pool_statistics(server, clients, counts)
    assert [(change.module, change.what) for change in record.done] == [("1", "pooled")]
    whole = server[0](torch.cat(parts()))
    found = server.eval()[1]
    exact = {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(found.running_mean, whole.mean((0, 2, 3)), **exact)
    wanted = whole.var((0, 2, 3), correction=correction)
    torch.testing.assert_close(found.running_var, wanted, **exact)
    assert found.num_batches_tracked == len(SIZES)
    y = (whole - whole.mean((0, 2, 3), keepdim=True)) / (wanted.view(1, 3, 1, 1) + 1e-5).sqrt()
    torch.testing.assert_close(server(torch.cat(parts())), y, rtol=1e-8, atol=1e-8)


def test_a_client_may_be_the_server():
    clients = [torch.nn.BatchNorm1d(2, momentum=None) for _ in range(2)]
    for k, client in enumerate(clients):
        client(torch.randn(8, 2) + k)
    mean = (clients[0].running_mean + 3 * clients[1].running_mean) / 4
    pool_statistics(clients[0], clients, [8, 24])
    torch.testing.assert_close(clients[0].running_mean, mean)


ONE = torch.nn.BatchNorm1d(2)
REFUSED = [
    ([], [], OptionError, "got 0 and 0"),
    ([ONE], [1, 2], OptionError, "got 1 and 2"),
    ([ONE], [1], CountError, "more than 1 values a channel, got 1"),
    ([ONE], [{"other": 4}], OptionError, "got none for ''"),
    ([torch.nn.BatchNorm1d(3)], [9], ChannelError, "got 2 and 3"),
    ([torch.nn.Linear(2, 2)], [9], SurgeryError, "got 1 in target and 0 in a source"),
]


@pytest.mark.parametrize(("sources", "counts", "error", "message"), REFUSED, ids=str)
def test_what_cannot_be_pooled_is_refused_before_anything_changes(sources, counts, error, message):
    target = torch.nn.BatchNorm1d(2)
    before = {name: value.clone() for name, value in target.state_dict().items()}
    with pytest.raises(error, match=message):
        pool_statistics(target, sources, counts)
    assert issubclass(error, BatchNormError)
    assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())
