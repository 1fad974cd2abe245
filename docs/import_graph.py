"""The import graph of the package, read from its syntax, imports inside functions included."""

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).resolve().parent.parent / "src" / "batchnorm"
Graph = Mapping[str, frozenset[str]]


class Source(NamedTuple):
    """One module: its syntax, and whether it is the face (`__init__`) of a package."""

    tree: ast.Module
    is_face: bool = False


def read(folder: Path = PACKAGE) -> dict[str, Source]:
    """Return the modules below a package's folder by dotted name, sorted."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = (folder.name, *path.relative_to(folder).with_suffix("").parts)
        is_face = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_face else parts)
        found[name] = Source(ast.parse(path.read_text(encoding="utf-8")), is_face)
    return found


def imports(sources: Mapping[str, Source]) -> Graph:
    """Return which modules each module imports.

    Only what an import names counts: `import a.b` runs the face of `a` too, but does not depend on
    what stands in it. A name that is both a module and bound by the face means what the face binds.
    """
    bound = {name: _bound(name, source) for name, source in sources.items() if source.is_face}

    def target(module: str, name: str) -> str:
        inner = f"{module}.{name}"
        own = module in bound and name in bound[module]
        return inner if inner in sources and not own else module

    return {
        name: frozenset(
            found
            for module, imported in _statements(name, source)
            if (found := target(module, imported) if imported else module) in sources
        )
        for name, source in sources.items()
    }


def _statements(name: str, source: Source) -> Iterator[tuple[str, str]]:
    """Yield every import of a module: absolute module, and the name taken from it or nothing."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = absolute(name, node, is_face=source.is_face)
            yield from ((module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            match node.args:
                case [ast.Constant(value=str(module)), *_]:
                    yield module, ""


def absolute(name: str, node: ast.ImportFrom, *, is_face: bool = False) -> str:
    """Return the module that a `from` names, inside module `name`."""
    if not node.level:
        return node.module or ""
    parts = name.split(".")
    base = parts[: len(parts) - node.level + is_face]
    return ".".join([*base, *([node.module] if node.module else [])])


def _bound(name: str, source: Source) -> set[str]:
    """Return the names that a face binds to something other than its own module of that name."""
    found = set()
    for node in source.tree.body:
        match node:
            case ast.ImportFrom(names=aliases):
                module = absolute(name, node, is_face=True)
                found |= {a.asname or a.name for a in aliases if module != name}
            case (
                ast.FunctionDef(name=own) | ast.AsyncFunctionDef(name=own) | ast.ClassDef(name=own)
            ):
                found.add(own)
            case ast.Assign(targets=targets):
                found |= {t.id for t in targets if isinstance(t, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=own)):
                found.add(own)
    return found


def reached(graph: Graph, start: str) -> set[str]:
    """Return what `start` imports, directly or through others."""
    found: set[str] = set()
    left = [*graph[start]]
    while left:
        module = left.pop()
        if module not in found:
            found.add(module)
            left += graph[module]
    return found


def circles(graph: Graph) -> list[list[str]]:
    """Return the sets of modules that import each other, and modules that import themselves."""
    reach = {name: reached(graph, name) for name in graph}
    on_a_circle = [name for name in sorted(graph) if name in reach[name]]
    groups = {frozenset(n for n in reach[name] if name in reach[n]) for name in on_a_circle}
    return sorted(sorted(group) for group in groups)


def room(module: str) -> str:
    """Return the first part of a module's name below the root; nothing for the root's own face."""
    return module.split(".")[1] if "." in module else ""


def between_rooms(graph: Graph) -> Counter[tuple[str, str]]:
    """Return how many imports lead from one room to another, counted in pairs of modules."""
    pairs = ((room(source), room(target)) for source, found in graph.items() for target in found)
    return Counter((here, there) for here, there in pairs if here != there)
