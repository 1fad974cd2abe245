"""The plan of the house: every rule holds, and each can fail."""

import ast

import import_graph
import pytest
import rooms
import torch
from import_graph import Source

from batchnorm.cli._app import app
from support import architecture

SOURCES = import_graph.read()
GRAPH = import_graph.imports(SOURCES)
KERNELS, STUDIES = "batchnorm.kernels._cpu", "batchnorm.lab.studies"
OUTSIDE_KERNELS = {name: source for name, source in SOURCES.items() if not name.startswith(KERNELS)}
ALLOWED = [
    architecture.has_torchs_signature,
    architecture.implements_a_schema,
    architecture.is_a_command(app),
]


def planted(faces=(), **modules):
    """Return sources of a made-up package `p` from code; a name's double underscore is a dot."""
    faces = {"p", *faces}
    found = {name.replace("__", "."): code for name, code in modules.items()}
    names = {**dict.fromkeys(faces, ""), **found}
    return {name: Source(ast.parse(code), name in faces) for name, code in names.items()}


def circles_of(*faces, **modules):
    return import_graph.circles(import_graph.imports(planted(faces, **modules)))


def test_the_whole_package_is_read():
    assert len(SOURCES) > 150
    assert {"batchnorm", "batchnorm.nn", "batchnorm.kernels._cpu._rows"} <= SOURCES.keys()
    assert sum(map(len, GRAPH.values())) > 500


# ------------------------------------------------------------------- what imports what


def test_no_import_circle():
    assert import_graph.circles(GRAPH) == []


CIRCLES = {
    "two modules": {"p__a": "import p.b", "p__b": "from p import a"},
    "three modules": {"p__a": "import p.b", "p__b": "import p.c", "p__c": "from p.a import x"},
    "inside a function": {"p__a": "def f():\n from . import b", "p__b": "from .a import f"},
    "for type checkers": {
        "p__a": "if TYPE_CHECKING:\n from p.b import B",
        "p__b": "from p.a import A",
    },
    "by its name as text": {"p__a": "importlib.import_module('p.b')", "p__b": "import p.a"},
    "a module and the face it stands behind": {
        "p": "from ._a import A",
        "p___a": "from . import B",
    },
    "the face binds a function of its module's name": {
        "p": "from .a import a",
        "p__a": "from p import a",
    },
}


@pytest.mark.parametrize("name", CIRCLES)
def test_a_circle_is_found(name):
    modules = sorted(each.replace("__", ".") for each in CIRCLES[name])
    assert circles_of(**CIRCLES[name]) == [modules]
    assert circles_of(**(CIRCLES[name] | {max(CIRCLES[name]): ""})) == []


@pytest.mark.parametrize(
    "modules",
    [
        {"p": "from ._a import A", "p___a": "from p._b import B", "p___b": ""},
        {"p": "from . import a, b", "p__a": "from p import b", "p__b": "import other"},
        {"p__a": "from p.a1 import x", "p__a1": "from p.b import y", "p__b": ""},
    ],
)
def test_a_face_over_its_own_modules_is_no_circle(modules):
    assert circles_of(**modules) == []


def test_relative_imports_are_resolved():
    here = planted(["p.q"], p__q__a="from .. import b\nfrom ..c import d\nfrom . import e", p__b="",
                   p__c="", p__q__e="")  # fmt: skip
    assert import_graph.imports(here)["p.q.a"] == {"p.b", "p.c", "p.q.e"}


# ------------------------------------------------------------------------------ modules and folders


def test_the_root_holds_six_modules_at_most():
    assert architecture.loose_in_the_root(SOURCES) == []
    assert len(architecture.ROOT) == 6


def test_a_seventh_module_in_the_root_is_found():
    found = planted(["p.nn"], p__errors="", p___files="", p__nn__x="")
    assert architecture.loose_in_the_root(found) == ["_files"]


def test_no_folder_has_more_than_18_modules():
    assert architecture.crowded_folders(SOURCES, spared=[STUDIES]) == {}
    assert STUDIES in SOURCES


def test_a_crowded_folder_is_found():
    full = planted(["p.q"], **{f"p__q__m{number}": "" for number in range(17)})
    assert architecture.crowded_folders(full) == {}
    full["p.q.last"] = full["p.q.m0"]
    assert architecture.crowded_folders(full) == {"p.q": 19}
    assert architecture.crowded_folders(full, spared=["p.q"]) == {}


def test_every_module_is_named_after_a_subject():
    assert architecture.nameless(SOURCES) == []


def test_a_name_without_a_subject_is_found():
    names = {f"p__{name}": "" for name in ("utils", "_helpers", "database")}
    assert architecture.nameless(planted(["p.common"], **names)) == [
        "p.common",
        "p.utils",
        "p._helpers",
    ]


# --------------------------------------------------------------------------------------- functions


def test_no_function_has_more_than_50_lines():
    assert architecture.long_functions(OUTSIDE_KERNELS) == {}


def test_a_long_function_is_found():
    long, limit = (
        f"class C:\n def {name}(self):\n  '''Doc.\n\n  More.'''\n" + "  x = 1\n" * lines
        for name, lines in (("f", 51), ("g", 50))
    )
    assert architecture.long_functions(planted(p__a=long, p__b=limit)) == {"p.a.C.f": 51}


def test_no_function_has_more_than_10_parameters():
    assert architecture.wide_functions(OUTSIDE_KERNELS, ALLOWED) == {}


def test_a_function_of_many_parameters_is_found():
    ten = ", ".join(f"a{number}" for number in range(10))
    code = f"""
def ten({ten}): ...
def eleven({ten}, *, last): ...
class C:
    def method(self, {ten}): ...
    def wide(self, {ten}, **options): ...
    if True:
        def inside(self, {ten}): ...
    @staticmethod
    def static({ten}, *rest):
        def nested({ten}, more): ...
"""
    found = architecture.wide_functions(planted(p__a=code), ALLOWED)
    assert {name.removeprefix("p.a.") for name in found} == {
        "eleven", "C.wide", "C.static", "C.static.nested",
    }  # fmt: skip
    assert set(found.values()) == {11}


TORCHS = "running_mean, running_var, weight, bias, training, momentum, eps, more, and_, another"
MODULES = "eps, momentum, affine, track_running_stats, device, dtype, *, bias, one, two, three"


@pytest.mark.parametrize(
    ("code", "torchs"),
    [
        (f"def f(x, {TORCHS}): ...", True),
        (f"def _f(x, {TORCHS}): ...", False),
        (f"def f(x, residual, {TORCHS}): ...", False),
        (f"def f(x, {TORCHS.replace('weight, bias', 'bias, weight')}): ...", False),
        (f"class C:\n def __init__(self, num_features, {MODULES}): ...", True),
        (f"class C:\n def __init__(self, num_features, num_domains, {MODULES}): ...", True),
        (f"class C:\n def __init__(self, {MODULES}): ...", True),  # torch's lazy layers
        (f"class C:\n def __init__(self, num_domains, {MODULES}): ...", False),
        (f"class C:\n def __init__(self, num_domains, num_features, {MODULES}): ...", False),
        (f"class C:\n def build(self, num_features, {MODULES}): ...", False),
    ],
)
def test_only_torchs_own_signature_may_be_wide(code, torchs):
    found = architecture.wide_functions(planted(p__a=code), [architecture.has_torchs_signature])
    assert bool(found) != torchs


def test_only_an_operators_own_arguments_may_be_wide():
    schema = torch.ops.batchnorm.backward.default._schema
    names = [argument.name for argument in schema.arguments]
    assert len(names) > architecture.MOST_PARAMETERS
    rule = [architecture.implements_a_schema]
    for where, given, allowed in (
        ("ops", names, True),
        ("ops", ["keyset", *names], True),
        ("ops", names[::-1], False),
        ("nn", names, False),
    ):
        code = f"def f({', '.join(given)}): ..."
        sources = {f"batchnorm.{where}._x": Source(ast.parse(code))}
        assert bool(architecture.wide_functions(sources, rule)) != allowed


def test_only_commands_may_be_wide():
    command = architecture.is_a_command(app)
    callback = app.registered_commands[0].callback
    function = architecture.Function(callback.__module__, callback.__qualname__, (), 0)
    assert command(function)
    assert not command(function._replace(name="print_record"))


# ------------------------------------------------------------------------------------- the picture


def test_the_picture_of_the_rooms_is_of_today():
    drawn = rooms.draw(SOURCES, rooms.floors())
    assert rooms.PICTURE.read_text("utf-8") == drawn, "run python docs/rooms.py"


def test_the_picture_shows_every_room_and_every_import_between_them():
    drawn = rooms.draw(SOURCES, rooms.floors())
    faces = {
        name.split(".")[1] for name, source in SOURCES.items() if source.is_face and "." in name
    }
    assert {name for name in faces if f">{name}</text>" in drawn} == faces
    for (here, there), count in import_graph.between_rooms(GRAPH).items():
        if {here, there} <= faces:
            assert f"<title>{here} to {there}: {count} import" in drawn


def test_an_arrow_that_points_up_is_not_drawn():
    up = {"batchnorm.low": "import batchnorm.high", "batchnorm.high": ""}
    sources = {name: Source(ast.parse(code), is_face=True) for name, code in up.items()}
    with pytest.raises(ValueError, match="low imports high"):
        rooms.draw(sources, [["high"], ["low"]])
    assert "low to high: 1 import<" in rooms.draw(sources, [["low"], ["high"]])
