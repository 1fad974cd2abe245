"""The rules of the house, each a function over data: names, graphs and syntax trees."""

import ast
import inspect
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

import torch
from import_graph import Source

ROOT = {"__init__", "__main__", "errors", "_axes", "_moments", "reference"}
NAMELESS = {"utils", "helpers", "common", "misc", "base"}
MOST_PARAMETERS, MOST_LINES, MOST_MODULES = 10, 50, 18


class Function(NamedTuple):
    """One function or method: module, qualified name, parameters without self, body's lines."""

    module: str
    name: str
    parameters: tuple[str, ...]
    lines: int


def functions(sources: Mapping[str, Source]) -> Iterator[Function]:
    for module, source in sources.items():
        for name, node, is_method in _definitions(source.tree, "", in_class=False):
            yield Function(module, name, _parameters(node, is_method=is_method), _lines(node))


def _definitions(tree: ast.AST, prefix: str, *, in_class: bool) -> Iterator[tuple]:
    for node in ast.iter_child_nodes(tree):
        is_class = isinstance(node, ast.ClassDef)
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if is_function:
            static = any(ast.unparse(found) == "staticmethod" for found in node.decorator_list)
            yield f"{prefix}{node.name}", node, in_class and not static
        inner = f"{prefix}{node.name}." if is_class or is_function else prefix
        nested = is_class or (in_class and not is_function)
        yield from _definitions(node, inner, in_class=nested)


def _parameters(node: ast.FunctionDef, *, is_method: bool) -> tuple[str, ...]:
    found = node.args
    starred = [each for each in (found.vararg, found.kwarg) if each]
    plain = [*found.posonlyargs, *found.args][is_method:]
    return tuple(each.arg for each in [*plain, *found.kwonlyargs, *starred])


def _lines(node: ast.FunctionDef) -> int:
    """Return the length of a body from its first line behind the docstring to its last."""
    body = node.body[ast.get_docstring(node) is not None :]
    return node.end_lineno - body[0].lineno + 1 if body else 0


def module_name(module: str) -> str:
    return module.rpartition(".")[2]


# ------------------------------------------------------------------------------ modules and folders


def loose_in_the_root(sources: Mapping[str, Source]) -> list[str]:
    """Return the root's modules that have no place there."""
    tops = {parts[1] for name in sources if len(parts := name.split(".")) == 2}
    packages = {
        name.split(".")[1] for name, source in sources.items() if source.is_face and "." in name
    }
    return sorted(tops - packages - ROOT)


def crowded_folders(sources: Mapping[str, Source], spared: Collection[str] = ()) -> dict[str, int]:
    """Return the folders with too many modules, their faces included, and how many they have."""
    folders = Counter(
        name if source.is_face else name.rpartition(".")[0] for name, source in sources.items()
    )
    return {
        folder: size
        for folder, size in sorted(folders.items())
        if size > MOST_MODULES and folder not in spared
    }


def nameless(sources: Mapping[str, Source]) -> list[str]:
    """Return the modules and folders whose name names no subject."""
    return [name for name in sources if module_name(name).strip("_") in NAMELESS]


# --------------------------------------------------------------------------------------- functions


def long_functions(sources: Mapping[str, Source]) -> dict[str, int]:
    return {
        f"{each.module}.{each.name}": each.lines
        for each in functions(sources)
        if each.lines > MOST_LINES
    }


def wide_functions(
    sources: Mapping[str, Source], allowed: Collection[Callable[[Function], bool]] = ()
) -> dict[str, int]:
    """Return the functions with too many parameters, unless one of `allowed` takes them."""
    return {
        f"{each.module}.{each.name}": len(each.parameters)
        for each in functions(sources)
        if len(each.parameters) > MOST_PARAMETERS and not any(take(each) for take in allowed)
    }


def has_torchs_signature(function: Function) -> bool:
    """Whether a public function or a constructor begins as torch's own does.

    The input may have another name; arguments of a relative's own stand where they must, between
    torch's first and second.
    """
    if function.name.rpartition(".")[2] == "__init__":
        kinds = torch.nn.BatchNorm2d, torch.nn.LazyBatchNorm2d
        return any(_begins_as(kind, function.parameters) for kind in kinds)
    is_public = not function.name.rpartition(".")[2].startswith("_")
    behind_the_input = function.parameters[1:]
    return is_public and _begins_as(torch.nn.functional.batch_norm, behind_the_input, skip=1)


def _begins_as(theirs: Callable, ours: tuple[str, ...], skip: int = 0) -> bool:
    found = inspect.signature(theirs).parameters.values()
    names = [each.name for each in found if each.kind is each.POSITIONAL_OR_KEYWORD][skip:]
    kept = [name for name in ours if name in names]
    shared = [name for name in names if name in ours]
    return ours[:1] == tuple(names[:1]) and kept == shared and len(kept) > len(names) / 2


def implements_a_schema(function: Function) -> bool:
    """Whether a function of `ops` has the arguments of a registered operator, in its order."""
    if ".ops." not in f"{function.module}.":
        return False
    own = tuple(name for name in function.parameters if name not in {"keyset", "ctx"})
    return own in {
        tuple(argument.name for argument in schema.arguments)
        for schema in torch._C._jit_get_all_schemas()
        if schema.name.startswith("batchnorm::")
    }


def is_a_command(app) -> Callable[[Function], bool]:
    """Return the rule that lets the commands of a typer application pass."""
    callbacks = {(found.__module__, found.__qualname__) for found in _commands(app)}
    return lambda function: (function.module, function.name) in callbacks


def _commands(app) -> Iterator[Callable]:
    yield from (command.callback for command in app.registered_commands)
    for group in app.registered_groups:
        yield from _commands(group.typer_instance)
