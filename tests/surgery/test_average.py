"""The running statistics of an averaged model follow those of its source."""

import copy

import pytest
import torch
from torch import nn

import batchnorm
from batchnorm.errors import ChannelError, OptionError, SurgeryError
from batchnorm.surgery import average_statistics, recalibrate

both_families = pytest.mark.parametrize("family", [nn, batchnorm.nn], ids=["torch", "ours"])


def network(family=nn, channels=3):
    return nn.Sequential(
        nn.Linear(2, channels), family.BatchNorm1d(channels), nn.Linear(channels, 1)
    )


def pair(family=nn):
    """A teacher and a student with other weights and statistics."""
    models = network(family), network(family)
    for model in models:
        model(torch.randn(64, 2))
    return models


@torch.no_grad()
def average_weights(target, source, decay):
    for old, new in zip(target.parameters(), source.parameters(), strict=True):
        old.lerp_(new, 1 - decay)


@both_families
@pytest.mark.parametrize("decay", [0.0, 0.25, 0.999, 1.0])
def test_both_statistics_are_averaged_and_the_counter_copied(family, decay):
    teacher, student = pair(family)
    student(torch.randn(64, 2))
    old, new = copy.deepcopy(teacher[1]), copy.deepcopy(student[1])
    objects = [id(buffer) for buffer in teacher.buffers()]
    weights = [parameter.clone() for parameter in teacher.parameters()]
    average_statistics(teacher, student, decay)
    for name in ("running_mean", "running_var"):
        wanted = decay * getattr(old, name) + (1 - decay) * getattr(new, name)
        torch.testing.assert_close(getattr(teacher[1], name), wanted)
        assert torch.equal(getattr(student[1], name), getattr(new, name))
    assert teacher[1].num_batches_tracked == 2
    assert [id(buffer) for buffer in teacher.buffers()] == objects
    assert all(map(torch.equal, teacher.parameters(), weights))


def test_mean_is_exact_and_variance_off_by_the_term_of_the_documentation():
    """Averaged weights average the inputs value by value; a mixture would err the other way."""
    decay, x = 0.6, torch.randn(1000, 2, dtype=torch.float64)
    teacher, student = network().double(), network().double()
    student[0].bias.data += 3
    for model in (teacher, student):
        recalibrate(model, [x])
    z_t, z_s = teacher[0](x).detach(), student[0](x).detach()
    gap = (z_t - z_s).var(0) * decay * (1 - decay)
    average_weights(teacher, student, decay)
    average_statistics(teacher, student, decay)
    z = teacher[0](x).detach()
    torch.testing.assert_close(teacher[1].running_mean, z.mean(0))
    torch.testing.assert_close(teacher[1].running_var, z.var(0) + gap)


def test_a_teacher_evaluates_well_only_with_its_statistics():
    """Averaging the parameters alone leaves the statistics of the start."""
    torch.manual_seed(1)
    student = network()
    fresh, stale = copy.deepcopy(student), copy.deepcopy(student)
    for _ in range(200):
        student(torch.randn(64, 2) * 4 + 10)
        for teacher in (fresh, stale):
            average_weights(teacher, student, 0.95)
        average_statistics(fresh, student, 0.95)
    x = torch.randn(512, 2) * 4 + 10
    with torch.no_grad():
        wanted = student.eval()(x)
        near, far = ((teacher.eval()(x) - wanted).abs().max() for teacher in (fresh, stale))
    assert near < 0.1
    assert far > 0.5


@pytest.mark.parametrize("as_state", ["target", "source", "both", "wrapped", "compiled"])
def test_models_states_and_wrappers_are_taken_alike(as_state):
    teacher, student = pair()
    expected = copy.deepcopy(teacher)
    average_statistics(expected, student, 0.5)
    target, source = teacher, student
    if as_state in ("target", "both"):
        target = teacher.state_dict()
    if as_state in ("source", "both"):
        source = student.state_dict()
    if as_state == "wrapped":
        target, source = torch.optim.swa_utils.AveragedModel(teacher), nn.DataParallel(student)
    if as_state == "compiled":
        target = torch.compile(teacher, backend="eager")
    record = average_statistics(target, source, 0.5)
    teacher = target.module if as_state == "wrapped" else teacher
    for name, buffer in teacher.named_buffers():
        assert torch.equal(buffer, expected.get_buffer(name))
    assert [(change.module, change.what) for change in record.changes] == [("1", "averaged")]


@pytest.mark.parametrize("as_state", [False, True])
def test_a_shared_layer_is_moved_once(as_state):
    def shared():
        layer = nn.BatchNorm1d(2)
        return nn.Sequential(layer, nn.ReLU(), layer)

    teacher, student = shared(), shared()
    student[0].running_mean.fill_(8.0)
    states = (teacher.state_dict(), student.state_dict()) if as_state else (teacher, student)
    record = average_statistics(*states, 0.5)
    assert teacher[0].running_mean.tolist() == [4.0, 4.0]
    assert [change.module for change in record.changes] == ["0"]


def test_small_steps_are_not_lost():
    """With a decay of 0.9999 in float64, whatever the buffers."""
    teacher, student = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
    student.running_mean.fill_(1.0)
    for _ in range(1000):
        average_statistics(teacher, student, 0.9999)
    assert teacher.running_mean.item() == pytest.approx(1 - 0.9999**1000, rel=1e-5)


@torch.no_grad()
def test_debiasing_layers_are_averaged_as_they_evaluate():
    teacher, student = (batchnorm.nn.BatchNorm1d(1, debias=True) for _ in range(2))
    for model, mean in ((teacher, 10.0), (student, 30.0)):
        model(mean + torch.tensor([[-1.0], [1.0]]))
    average_statistics(nn.ModuleList([teacher]), nn.ModuleList([student]), 0.5)
    assert teacher.running_mean.item() == pytest.approx(20.0)
    y = teacher.eval()(torch.tensor([[21.0]]))  # variance 2
    assert y.item() == pytest.approx(2**-0.5, rel=1e-5)


DOORS = [
    (network, network, -0.1, OptionError, "from 0 to 1, got -0.1"),
    (network, network, float("nan"), OptionError, "got nan"),
    (lambda: nn.Linear(2, 2), lambda: nn.Linear(2, 2), 0.5, SurgeryError, "none in target and"),
    (network, lambda: nn.Linear(2, 2), 0.5, SurgeryError, "3 names .* '1.num_batches_tracked' in"),
    (network, lambda: network(channels=4), 0.5, ChannelError, r"got \(3,\) and \(4,\) for '1.run"),
]


@pytest.mark.parametrize(("target", "source", "decay", "error", "text"), DOORS)
def test_errors_change_nothing(target, source, decay, error, text):
    target, source = target(), source()
    before = copy.deepcopy(target.state_dict())
    with pytest.raises(error, match=text):
        average_statistics(target, source, decay)
    assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())
