"""Every decision is in the index, and what refers to one names one that exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "decisions"
FILES = sorted(path.name for path in FOLDER.glob("[0-9]*.md"))
# A link from the folder itself, a path from anywhere, or the number in words.
REFERENCE = re.compile(r"(?:docs/decisions/|\]\((?:\.\./decisions/)?)(\d{4}-[\w-]+\.md)")
NUMBER = re.compile(r"\bdecision (\d+)\b")
ROW = re.compile(r"^\| (\d+) \| \[(.+)\]\((.+)\) \| (.+) \|$", re.MULTILINE)


def referring_files():
    for folder in ("src", "tests", "docs", "benchmarks", "examples"):
        yield from (p for p in (ROOT / folder).rglob("*") if p.suffix in {".py", ".md", ".html"})
    yield from ROOT.glob("*.md")


def broken(text, files=FILES):
    """Return the references in a text that lead nowhere."""
    numbers = {str(int(name[:4])) for name in files}
    names = [name for name in REFERENCE.findall(text) if name not in files]
    return names + [number for number in NUMBER.findall(text) if number not in numbers]


def test_every_decision_is_in_the_index_with_its_title():
    titles = [(FOLDER / name).read_text("utf-8").partition("\n")[0] for name in FILES]
    rows = ROW.findall((FOLDER / "README.md").read_text("utf-8"))
    assert [name for _, _, name, _ in rows] == FILES
    assert [f"# {number}. {title}" for number, title, _, _ in rows] == titles


def test_decisions_are_numbered_from_one_without_a_gap():
    assert [int(name[:4]) for name in FILES] == list(range(1, len(FILES) + 1))


def test_every_reference_to_a_decision_leads_to_one():
    found = {str(path): broken(path.read_text("utf-8")) for path in referring_files()}
    found.pop(__file__)
    assert {path: names for path, names in found.items() if names} == {}


def test_a_broken_reference_is_found():
    files = ["0001-a.md", "0002-b.md"]
    good = "docs/decisions/0001-a.md [x](0002-b.md) [x](../decisions/0001-a.md) decision 2"
    assert broken(good, files) == []
    bad = "docs/decisions/0003-a.md [x](0002-a.md) [x](../decisions/0001-b.md) decision 12"
    assert broken(bad, files) == ["0003-a.md", "0002-a.md", "0001-b.md", "12"]
