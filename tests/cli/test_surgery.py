"""The commands that change a model: what they write reloads, and bad input leaves nothing."""

import sys
import textwrap

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import batchnorm
from batchnorm import surgery
from batchnorm.cli import run

NETWORKS = """
    import torch
    from torch import nn

    def plain():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4)
        )

    def normalized():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(),
            nn.Linear(8 * 36, 4),
        )
        with torch.no_grad():
            model[1].running_mean.uniform_(-1, 1)
            model[1].running_var.uniform_(0.5, 2)
            model[1].bias.uniform_(-1, 1)
        return model

    class Own(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x) + 1

    def own():
        return nn.Sequential(Own(8))

    def raising():
        raise ValueError("the disk\\nis full")

    def batches():
        g = torch.Generator().manual_seed(1)
        return [(5 + torch.randn(n, 3, 8, 8, generator=g), torch.zeros(n)) for n in (16, 16, 3)]

    def breaking():
        yield from batches()[:2]
        raise OSError("the cable is out")

    number = 7
    ready = normalized()
"""


@pytest.fixture(autouse=True)
def networks(tmp_path, monkeypatch):
    """A module of a user's in the present folder, and nothing of it left behind."""
    (tmp_path / "user_networks.py").write_text(textwrap.dedent(NETWORKS))
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    yield tmp_path
    assert sys.path == path
    sys.modules.pop("user_networks", None)


def made(name):
    return vars(__import__("user_networks"))[name]()


@pytest.fixture
def x():
    return torch.randn(4, 3, 8, 8)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pt2"])
def test_a_folded_model_reloads(networks, capsys, x, suffix):
    out = networks / f"folded{suffix}"
    inputs = ("--input", "4,3,8,8")
    assert run(["fold", "user_networks:normalized", "-o", str(out), *inputs]) == 0
    printed = capsys.readouterr().out
    assert "fold: 1 done, 0 left alone, largest relative error" in printed
    assert f"Written: {out}" in printed
    monkey = sys.path
    sys.path = [str(networks), *monkey]
    try:
        model = made("normalized").eval()
    finally:
        sys.path = monkey
    wanted = model(x)
    if suffix == ".pt2":
        found = torch.export.load(out).module()(x[:3])
        wanted = wanted[:3]
    else:
        surgery.fold(model, torch.randn(4, 3, 8, 8))
        state = load_file(out) if suffix == ".safetensors" else torch.load(out, weights_only=True)
        model.load_state_dict(state)
        found = model(x)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_the_record_stands_beside_the_weights(networks):
    out = networks / "f.safetensors"
    run(["fold", "user_networks:normalized", "-o", str(out), "--input", "2,3,8,8"])
    with safe_open(out, "pt") as file:
        about = file.metadata()
    assert about["batchnorm"] == batchnorm.__version__
    assert about["model"] == "user_networks:normalized"
    assert '"what": "folded"' in about["record"]


def test_fold_for_other_runtimes(networks, x):
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime to run the file")
    out, onnx = networks / "f.pt", networks / "f.onnx"
    arguments = ["-o", str(out), "--input", "4,3,8,8", "--onnx", str(onnx)]
    assert run(["fold", "user_networks:ready", *arguments]) == 0
    session = runtime.InferenceSession(str(onnx))
    (found,) = session.run(None, {session.get_inputs()[0].name: x[:3].numpy()})
    ready = sys.modules["user_networks"].ready
    torch.testing.assert_close(torch.from_numpy(found), ready(x[:3]).detach(), rtol=1e-4, atol=1e-5)
    assert "BatchNormalization" not in onnx.read_bytes().decode("latin-1")


def test_recalibrate_takes_all_batches_and_weights_from_a_file(networks, capsys):
    weights, out = networks / "w.safetensors", networks / "r.safetensors"
    run(["convert", "user_networks:normalized", "-o", str(weights)])
    model = sys.modules["user_networks"].normalized()
    state = model.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in load_file(weights).items())
    changed = {key: value + 1 if key == "0.weight" else value for key, value in state.items()}
    save_file(changed, weights)
    arguments = ["--weights", str(weights), "--data", "user_networks:batches", "-o", str(out)]
    assert run(["recalibrate", "user_networks:normalized", *arguments]) == 0
    assert "35 rows, 3 batches" in capsys.readouterr().out
    model.load_state_dict(changed)
    values = torch.cat([model[0](x) for x, _ in sys.modules["user_networks"].batches()]).double()
    torch.testing.assert_close(
        load_file(out)["1.running_mean"].double(), values.mean((0, 2, 3)), rtol=1e-5, atol=1e-5
    )


def test_insert_with_a_data_dependent_start(networks, x):
    out = networks / "i.pt"
    arguments = ["-o", str(out), "--data", "user_networks:batches", "--start", "data"]
    assert run(["insert", "user_networks:plain", *arguments]) == 0
    module = sys.modules["user_networks"]
    example, _ = module.batches()[0]
    model, plain = module.plain(), module.plain()
    surgery.insert(model, example, start="data")
    model.load_state_dict(torch.load(out, weights_only=True))
    torch.testing.assert_close(model.train()(example), plain(example), rtol=1e-4, atol=1e-5)


def test_convert_and_fuse(networks, capsys):
    out = networks / "c.safetensors"
    arguments = ["-o", str(out), "--fuse", "--input", "4,3,8,8"]
    assert run(["convert", "user_networks:normalized", *arguments]) == 0
    assert "convert: " in capsys.readouterr().out
    assert out.exists()


RECALIBRATE = ("recalibrate", "user_networks:normalized", "-o", "o.pt", "--data")
INSERT = ("insert", "user_networks:plain", "-o", "o.pt", "--input", "2,3,8,8")
FOLD = ("fold", "user_networks:normalized", "-o", "o.pt", "--input", "2,3,8,8")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fold", "user_networks", "-o", "o.pt"), "MODEL needs package.module:name"),
        (("fold", "no.such:model", "-o", "o.pt"), "no.such raised ModuleNotFoundError"),
        (("fold", "user_networks:none", "-o", "o.pt"), "got 'none', which it has not"),
        (("fold", "user_networks:number", "-o", "o.pt"), "got a int from user_networks:number"),
        (("fold", "user_networks:batches", "-o", "o.pt"), "got a list from"),
        (("fold", "user_networks:raising", "-o", "o.pt"), "ValueError (the disk is full)"),
        (("fold", "user_networks:normalized", "-o", "o.txt"), "needs to end in .safetensors or"),
        (("fold", "user_networks:normalized", "-o", "no/o.pt"), "(there is no such folder)"),
        (("fold", "user_networks:normalized", "-o", "o.pt"), "inputs to be tried on, got none"),
        ((*FOLD, "--data", "user_networks:batches"), "got both"),
        ((*FOLD[:-1], "2,x"), "--input needs sizes such as 8,3,32,32"),
        ((*FOLD[:-1], "2,5,8,8"), "raised RuntimeError"),
        ((*FOLD, "--onnx", "o.pt2"), "needs to end in .onnx"),
        ((*FOLD, "--pair", "0"), "--pair needs two names"),
        ((*FOLD, "--pair", "0,9"), "batchnorm: "),
        ((*FOLD, "--weights", "w.npz"), "--weights needs a .safetensors"),
        ((*FOLD, "--weights", "w.safetensors"), "cannot be read as weights"),
        ((*FOLD, "--weights", "user_networks.py"), "--weights needs a .safetensors"),
        ((*FOLD, "--weights", "evil.pt"), "cannot be read as weights"),
        ((*FOLD, "--weights", "other.pt"), "does not hold the weights of this model"),
        (("convert", "user_networks:own", "-o", "o.pt"), "Own"),
        (("convert", "user_networks:normalized", "-o", "o.pt", "--fuse"), "got none"),
        (("recalibrate", "user_networks:normalized", "-o", "o.pt"), "Missing option"),
        (
            (*RECALIBRATE, "user_networks:number"),
            "got a int from",
        ),
        ((*RECALIBRATE, "user_networks:breaking"), "raised OSError (the cable is out)"),
        (
            ("recalibrate", "user_networks:plain", "-o", "o.pt", "--data", "user_networks:batches"),
            "batchnorm: ",
        ),
        (
            (*RECALIBRATE, "user_networks:batches", "--method", "x"),
            "--method",
        ),
        ((*INSERT, "--start", "x"), "--start"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(networks, capsys, arguments, words):
    import pickle

    class Evil:
        def __reduce__(self):
            return (open, ("owned", "w"))

    (networks / "evil.pt").write_bytes(pickle.dumps(Evil(), protocol=2))
    torch.save({"0.weight": torch.zeros(1)}, networks / "other.pt")
    before = {path.name for path in networks.iterdir()}
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.strip().count("\n") == 0, captured.err
    assert words in captured.err
    assert {path.name for path in networks.iterdir()} - {"__pycache__"} == before
