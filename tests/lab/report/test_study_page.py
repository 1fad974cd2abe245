"""The report in a real browser: drawn, quiet, and alone."""

import html
import shutil

import pytest

from batchnorm import lab
from batchnorm.lab import report
from support.processes.browser import WINDOWS, browser, eventually, opened, quiet_and_alone

__all__ = ["browser"]


@pytest.fixture(scope="module")
def page(small_run):
    return report.build(lab.load(small_run), small_run / "report.html")


@pytest.mark.browser
@WINDOWS
def test_the_page_draws_everything_and_asks_for_nothing(browser, page, width, scheme):
    opened(browser, page, width, scheme)
    # Curves, two panels, points, four grids: eight plots, each with something drawn in it.
    drawn = eventually(
        browser,
        "return [...document.querySelectorAll('.plot')].map("
        "p => p.querySelectorAll('.main-svg').length * p.querySelectorAll('.trace, .hm').length)",
        lambda counts: len(counts) == 8 and all(counts),
    )
    assert len(drawn) == 8
    assert all(drawn)
    quiet_and_alone(browser, page)


@pytest.mark.browser
def test_the_colours_follow_the_scheme(browser, page):
    grounds, inks = set(), set()
    for scheme in ("light", "dark"):
        opened(browser, page, 800, scheme)
        grounds.add(
            browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        )
        inks.add(
            eventually(
                browser, "return document.querySelector('.plot .annotation-text')?.style.fill", bool
            )
        )
    assert (len(grounds), len(inks)) == (2, 2)


def test_the_page_says_what_it_measured_and_on_what(page, small_run):
    text = html.unescape(page.read_text())
    findings = lab.load(small_run).study.findings(lab.load(small_run))
    for verdict in findings.verdicts:
        assert verdict.rule.split(".")[0] in text
    for words in ("“no effect”", "“above 0”", "“Condition”", "cannot be told, neither"):
        assert words in text.partition("</style>")[2].partition("<script")[0]
    for words in ("1,347 training and 450 test images", "not stated", "trials ended", "torch"):
        assert words in text


def test_damage_and_unfinished_trials_are_listed(tmp_path, small_run):
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    first, second = sorted((run / "trials").glob("*.jsonl"))[:2]
    first.write_bytes(b"<script>rubbish\n" + first.read_bytes())
    second.unlink()
    text = report.build(lab.load(run), run / "report.html").read_text()
    assert f"trials/{first.name}, line 1: " in text
    assert "1 trials have not ended" in text


def test_the_words_of_a_run_are_escaped(tmp_path, small_run):
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    (run / "environment.json").write_text('{"system": "<img src=x onerror=alert(1)>"}')
    text = report.build(lab.load(run), run / "report.html").read_text()
    assert "<img src=x" not in text
