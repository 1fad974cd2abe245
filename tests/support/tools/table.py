"""Other tools and our options: the table of `docs/reference/other-tools.md`.

Run ``PYTHONPATH=tests python -m support.tools.table`` to write it anew, or only the rows of tools
whose names have a word that is given: each cell is what running
the tool gives, and a cell that is neither the same function nor an error of ours stops it.
"""

import re
import sys
import warnings
from pathlib import Path

import pytest
import torch

from batchnorm.errors import BatchNormError
from support.tools import by_packages, by_torch
from support.tools.installed import let_torchvision_import
from support.tools.nets import OPTIONS

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "other-tools.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
TOOLS = {**by_torch.TOOLS, **by_packages.TOOLS}
_WAY = re.compile(
    r"batchnorm\.(\w+)\(|after (eval)\(\)|x\.(to_dense)\(\)|give (dynamo=False)|(leave it) out"
)


def cell(tool, option):
    """Return what a tool makes of a layer with an option: what became of it, or what to call."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return TOOLS[tool](option)
        except Exception as error:  # whatever the tool makes of an error of ours
            if (ours := _ours(error)) is None:
                raise
            refusal = str(ours)
    ways = list(dict.fromkeys(way for found in _WAY.findall(refusal) for way in found if way))
    assert ways, f"{tool}, {option}: an error without a way out: {refusal}"
    return " or ".join(f"`{way}`" if way != "leave it" else "leave it out" for way in ways)


def _ours(error):
    """Return the error of ours that is behind one, as the exporters wrap what a model raises."""
    while error is not None and not isinstance(error, BatchNormError):
        error = error.__cause__ or error.__context__
    return error


def table(cells):
    """Return the table in Markdown, one row for each tool."""
    lines = [f"| tool | {' | '.join(OPTIONS)} |", f"|---|{'---|' * len(OPTIONS)}"]
    for tool in TOOLS:
        row = " | ".join(cells.get((tool, option), "?") for option in OPTIONS)
        lines.append(f"| {tool} | {row} |")
    return "\n".join(lines)


def written():
    """Return the cells that the page has."""
    text = PAGE.read_text(encoding="utf-8")
    rows = [line for line in text[text.index(BEGIN) : text.index(END)].splitlines()[3:] if line]
    found = {}
    for row in rows:
        tool, *values = (value.strip() for value in row.strip("|").split(" | "))
        found |= {(tool, option): value for option, value in zip(OPTIONS, values, strict=True)}
    return found


def run(words):
    """Write the rows anew whose tools have one of the words in their names; all, without words."""
    cells, silent = {}, []
    for tool in (t for t in TOOLS if not words or any(word in t for word in words)):
        for option in OPTIONS:
            try:
                cells[tool, option] = cell(tool, option)
            except (Exception, pytest.skip.Exception) as error:  # noqa: BLE001 -- shown at once
                silent.append(f"{tool}, {option}: {type(error).__name__}: {str(error)[:300]}")
    if silent:
        raise SystemExit("\n".join(silent))
    text = PAGE.read_text(encoding="utf-8")
    before, after = text[: text.index(BEGIN)], text[text.index(END) :]
    PAGE.write_text(f"{before}{BEGIN}\n{table(written() | cells)}\n{after}", encoding="utf-8")


if __name__ == "__main__":
    torch.manual_seed(0)
    let_torchvision_import()
    run(sys.argv[1:])
