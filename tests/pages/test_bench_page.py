"""The page of a benchmark in a real browser: drawn, quiet, and alone."""

import html
import sys
from dataclasses import replace
from itertools import pairwise

import pytest

from batchnorm import bench
from batchnorm.bench import _output, _page
from batchnorm.bench._measurements import Benchmark
from batchnorm.errors import MissingExtraError, OptionError
from support.bench_runs import EVEN, busier
from support.processes.browser import WINDOWS, browser, opened, quiet_and_alone

__all__ = ["browser"]

QUIET = {"load": "0.3", "cores": 2, "threads": 2, "waited_percent": 0, "stolen_percent": 0}


@pytest.fixture(scope="module")
def path(small_bench, tmp_path_factory):
    target = tmp_path_factory.mktemp("page") / "bench.html"
    assert _output.Output(html=target).write(small_bench) == (target,)
    return target


@pytest.mark.browser
@WINDOWS
def test_the_page_draws_every_bar_and_asks_for_nothing(browser, path, small_bench, width, scheme):
    opened(browser, path, width, scheme)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    bars = browser.execute_script(
        "return [...document.querySelectorAll('.bar')].map(bar => {"
        " const b = bar.getBoundingClientRect(), t = bar.parentElement.getBoundingClientRect();"
        " return [b.width, b.height, b.left - t.left, t.right - b.right,"
        " getComputedStyle(bar).backgroundColor]})"
    )
    ratios = [r for table in bench.tables(small_bench) for row in table.rows for r in row.ratios]
    assert len(bars) > len(ratios)
    for wide, high, before, behind, colour in bars:
        assert wide >= 1
        assert high > 5
        assert min(before, behind) >= -2
        assert colour != "rgba(0, 0, 0, 0)"
    assert browser.execute_script("return document.querySelectorAll('.ticks b').length") > 10
    quiet_and_alone(browser, path)


@pytest.mark.browser
def test_the_colours_follow_the_scheme(browser, path):
    seen = set()
    for scheme in ("light", "dark"):
        opened(browser, path, 800, scheme)
        seen.add(
            browser.execute_script(
                "return [getComputedStyle(document.body).backgroundColor,"
                " getComputedStyle(document.querySelector('.bar')).backgroundColor].join()"
            )
        )
    assert len(seen) == 2


def test_the_page_says_what_was_measured_how_and_what_was_left_out(path, small_bench):
    text = html.unescape(path.read_text())
    for words in ("2 rounds", "retain_graph", "only support 2d", "Kept: what forward keeps"):
        assert words in text
    assert str(small_bench.machine["processor"]) in text
    for table in bench.tables(small_bench):
        assert table.title in text
    assert "losses of first steps" in text


def test_the_words_of_a_record_are_escaped(small_bench):
    bad = replace(small_bench, machine={**small_bench.machine, "processor": "<img src=x>"})
    assert "<img src=x" not in _page.render(bad)


def test_an_empty_record_has_a_page(small_bench):
    empty = Benchmark(small_bench.machine, small_bench.settings, (), (), (), ())
    assert "Nothing was compared." in _page.render(empty)


def test_a_busy_machine_is_the_headline_and_nothing_is_summed_up(small_bench):
    quiet = replace(small_bench, machine={**small_bench.machine, **QUIET}, measurements=EVEN)
    for found, busy in ((quiet, False), (busier(quiet, load="16.0"), True)):
        text = html.unescape(_page.render(found))
        head = text[text.index('<p class="headline') : text.index('<p class="summary')]
        assert ("Busy machine: these figures are not a comparison" in head) == busy
        assert ("faster" in head) != busy
        assert ("Geometric mean of the ratios" in text) != busy


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("ratio", [1.3, 40.0, 433.0, 9_999.0])
def test_the_ticks_of_the_axis_do_not_collide(browser, small_bench, tmp_path, width, ratio):
    cases = {"torch": 1.0, "onednn": ratio}
    times = {"copy": (1.0, 1.0), "ours": (1.0, 1.0), **{k: (v, v) for k, v in cases.items()}}
    target = tmp_path / "bench.html"
    one = replace(small_bench.measurements[0], seconds=times)
    quiet = replace(small_bench, machine={**small_bench.machine, **QUIET}, measurements=(one,))
    target.write_text(_page.render(quiet))
    opened(browser, target, width, "light")
    rows = browser.execute_script(
        "return [...document.querySelectorAll('.ticks .track')].map(row =>"
        " [...row.querySelectorAll('b')].map(b => {"
        " const r = b.getBoundingClientRect(); return [r.left, r.right]}))"
    )
    assert rows
    for row in rows:
        assert len(row) >= 2
        assert all(right[0] >= left[1] for left, right in pairwise(row)), row


def test_the_headline_admits_losses(small_bench):
    found = small_bench.measurements[0]
    found = replace(found, seconds={**found.seconds, "ours": (1.0, 1.0)})
    for times, won in (((9.0, 9.0), 1), ((1e-9, 1e-9), 0)):
        one = replace(found, seconds={**found.seconds, "torch": times})
        quiet = replace(small_bench, machine=QUIET, measurements=(one,))
        assert f"than torch in {won} of 1" in bench.headline(quiet)


def test_without_jinja_one_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'batchnorm\[lab\]'"):
        _output.Output(html=tmp_path / "a.html").check()
    _output.Output(json=tmp_path / "a.json").check()


def test_files_are_checked_before_time_is_spent(tmp_path):
    for target in (tmp_path, tmp_path / "none" / "a.json"):
        with pytest.raises(OptionError, match="--json needs a file in a folder"):
            _output.Output(json=target).check()
    with pytest.raises(OptionError, match="two files"):
        _output.Output(tmp_path / "a", tmp_path / "a").check()
