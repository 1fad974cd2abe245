"""The page of a ledger and the reports around it: whole, linked, and alone in a real browser."""

import html
import re
import shutil
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from batchnorm import lab
from batchnorm.lab import ledger
from batchnorm.lab.ledger import OUTCOMES, Ledger, Part
from batchnorm.lab.report import _claims_page as page
from batchnorm.lab.report._study_page import render
from batchnorm.lab.studies._convergence import CONVERGENCE
from batchnorm.lab.studies._noisy import NOISY
from support.lab import made_up
from support.lab.ledgers import FEW, keep
from support.processes.browser import WINDOWS, browser, eventually, opened, quiet_and_alone

__all__ = ["browser"]


@pytest.fixture(scope="module", autouse=True)
def _few():
    with pytest.MonkeyPatch.context() as patch:
        keep(patch)
        yield


@pytest.fixture(scope="module")
def index(small_ledger):
    return small_ledger / "index.html"


def made(study, ends=lambda _: (50, 0.99)):
    plan = study.plan(study.tasks[0], "quick")
    fields = {k: 0.5 for k in study.work.fields if k not in {"step", "test_accuracy"}}
    return Part(study, found := made_up.trained(study, plan, ends, fields), study.findings(found))


def rendered(*parts, **asked):
    options = {"scale": "quick", "task": None, "device": "cpu", **asked}
    return page.render(Ledger(FEW, "batchnorm study run all", options, parts))


def test_every_claim_has_its_card(small_ledger, index):
    text = index.read_text()
    found = ledger.load(small_ledger)
    cards = re.findall(
        r'<article class="claim ([a-z-]+)" id="([a-z0-9-]+)">(.*?)</article>', text, re.DOTALL
    )
    assert [anchor for _, anchor, _ in cards] == [
        f"{one.verdict.claim}-{one.study.name}".lower() for one in found.judgements
    ]
    for one, (outcome, _, card) in zip(found.judgements, cards, strict=True):
        words = html.unescape(card)
        assert outcome == one.verdict.outcome.replace(" ", "-")
        for part in (
            one.verdict.statement,
            one.verdict.reading,
            one.verdict.rule,
            one.verdict.source,
            one.findings.settings[0].paper,
            one.findings.settings[0].here,
            f"task {one.results.config['task']} · 1 seed",
        ):
            assert part in words
        for effect in one.verdict.effects:
            assert f"{effect.name}:</b> {effect.estimate or 'no shared seed'}" in words
        assert f'href="{one.study.name}/report.html"' in card
        drawings = re.findall(r"<svg.*?</svg>", card, re.DOTALL)
        assert 'class="thumbnail"' in drawings[-1]
        assert all(ET.fromstring(drawing).find("title").text for drawing in drawings)  # noqa: S314


def test_the_numbers_on_top_add_up(small_ledger, index):
    text, found = index.read_text(), ledger.load(small_ledger)
    headline = re.search(r'<p class="headline">(.*?)</p>', text).group(1)
    assert headline.startswith("4 verdicts on 4 published claims: ")
    for outcome in OUTCOMES:
        count = found.count(outcome)
        assert (f"{count} {outcome}" in headline) == bool(count)
        assert (f'style="flex: {count}">{count}</span>' in text) or not count
    assert "batchnorm study run all --quick --seeds 1 --steps 5" in text
    assert "torch" in text


@pytest.mark.parametrize("name", ["index.html", *(f"{study}/report.html" for study in FEW)])
def test_every_link_leads_to_a_file(small_ledger, name):
    path = small_ledger / name
    body = path.read_text().partition("<body>")[2].partition("<script>")[0]
    links = re.findall(r'href="([^"]+)"', body)
    assert links
    assert all((path.parent / link).resolve().is_file() for link in links)
    assert not any(re.match("[a-z]+:|/", link) for link in links)


def test_a_report_alone_links_to_nothing(small_run):
    assert 'class="neighbours"' not in render(lab.load(small_run))


def test_the_page_holds_no_plotting_library(index):
    assert index.stat().st_size < 200_000
    assert "<script" not in index.read_text()


@pytest.mark.parametrize("accuracy", [0.05, 0.5, 0.99])
def test_whatever_comes_out_is_shown(accuracy):
    text = rendered(made(CONVERGENCE, lambda t: (50 * (1 + t.seed % 2), accuracy)))
    assert not re.search(r"\b(nan|None|inf)\b", text.partition("</style>")[2])


def test_words_are_escaped():
    part = made(CONVERGENCE)
    evil = "<img src=x onerror=alert(1)>"
    verdict = replace(part.findings.verdicts[0], statement=evil, measured=evil, reading=evil)
    verdict = replace(verdict, effects=(replace(verdict.effects[0], name=evil),))
    found = replace(part.findings, verdicts=(verdict,))
    config = {**part.results.config, "task": evil}
    results = replace(part.results, config=config, environment={"gpu": evil})
    text = rendered(replace(part, findings=found, results=results), task=evil)
    assert evil not in text
    assert html.escape(evil) in text


def test_a_mixed_verdict_shows_what_did_not_hold():
    def end(trial):  # the noisy network is as fast, and less accurate
        return 20 if trial.arm == "noisy" else 60, 0.95 if trial.arm == "noisy" else 0.98

    text = html.unescape(rendered(made(NOISY, end)))
    card = text[text.index("<article") :].partition("<details>")[0]
    assert card.count("condition: supported") == card.count("condition: contradicted") == 1
    assert "accuracy at the end, noisy minus quiet" in card
    assert "4 conditions, 2 supported, 2 contradicted" in text


def test_what_is_missing_is_listed():
    part = made(CONVERGENCE)
    lost = made_up.without(part.results, lambda t: t.seed == 4)
    text = rendered(
        replace(part, results=lost), Part(lab.get("scale-invariance"), reason="It has not started.")
    )
    assert "This page is not complete" in text
    assert f"{len(lost.unfinished)} trials have not ended." in text
    assert "(scale-invariance) It has not started." in text
    assert "not whole" not in rendered(part)
    assert "No study has anything to tell yet" in rendered()


def test_a_study_on_another_task_is_told():
    text = rendered(made(CONVERGENCE), task="mnist")
    assert "have no plan for mnist ran on another task: convergence on digits" in text


def test_pages_are_written_anew_from_whatever_is_there(tmp_path, small_ledger):
    out = tmp_path / "all"
    shutil.copytree(small_ledger, out)
    shutil.rmtree(out / FEW[1])
    for report in (out / "index.html", *out.glob("*/report.html")):
        report.unlink()
    found = ledger.load(out)
    assert page.write(found, found.parts) == out / "index.html"
    assert f"({FEW[1]}) It has not started." in (out / "index.html").read_text()
    first, last = ((out / name / "report.html").read_text() for name in (FEW[0], FEW[2]))
    assert f'href="../{FEW[2]}/report.html" rel="next"' in first
    assert f'href="../{FEW[0]}/report.html" rel="prev"' in last
    assert f"../{FEW[1]}/" not in first + last


@pytest.mark.browser
@WINDOWS
def test_the_page_is_drawn_and_asks_for_nothing(browser, index, width, scheme):
    opened(browser, index, width, scheme)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    drawings = browser.execute_script(
        "return [...document.querySelectorAll('svg')].map(s => [s.getBoundingClientRect().width,"
        " s.getBoundingClientRect().height, s.querySelectorAll('*').length,"
        " ...[...s.querySelectorAll('text')].map(t => t.getBoundingClientRect()).flatMap("
        " t => [t.left, document.documentElement.clientWidth - t.right])])"
    )
    assert len(drawings) > 10
    for wide, high, parts, *texts in drawings:
        assert wide > 150
        assert high > 20
        assert parts > 3
        assert min(texts, default=0) >= 0
    cut = browser.execute_script(
        "return [...document.querySelectorAll('h1, h2, p, .badge, label, summary')].filter("
        "e => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== 'inline')"
        ".map(e => e.textContent)"
    )
    assert cut == []
    quiet_and_alone(browser, index)


@pytest.mark.browser
def test_the_filter_shows_one_kind_of_verdict(browser, small_ledger, index):
    opened(browser, index, 1440, "light")
    found = ledger.load(small_ledger)
    seen = "return [...document.querySelectorAll('.claim')].filter(c => c.offsetHeight).length"
    assert browser.execute_script(seen) == len(found.judgements)
    kinds = [outcome for outcome in OUTCOMES if found.count(outcome)]
    assert len(kinds) > 1
    for outcome in kinds:
        browser.find_element("css selector", f"label.{outcome.replace(' ', '-')}").click()
        assert browser.execute_script(seen) == found.count(outcome)
    browser.find_element("css selector", ".filter label").click()
    assert browser.execute_script(seen) == len(found.judgements)


@pytest.mark.browser
@WINDOWS
def test_the_links_lead_through_all_reports_and_back(browser, small_ledger, index, width, scheme):
    opened(browser, index, width, scheme)
    follow = "#c1-convergence .picture"
    for name in FEW:
        browser.find_element("css selector", follow).click()
        report = small_ledger / name / "report.html"
        assert browser.current_url == report.as_uri()
        drawn = eventually(
            browser,
            "return [...document.querySelectorAll('.plot')].map("
            "p => p.querySelectorAll('.main-svg').length * "
            "p.querySelectorAll('.trace, .hm').length)",
            lambda counts: counts and all(counts),
        )
        assert drawn
        assert all(drawn)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        follow = "a[rel=next]"
    assert not browser.find_elements("css selector", follow)
    browser.find_element("css selector", ".neighbours a").click()
    assert browser.current_url == index.as_uri()
    assert browser.get_log("browser") == []


@pytest.mark.browser
@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize("width", [390, 1440])
def test_a_report_keeps_its_labels_in_its_window(browser, small_ledger, name, width):
    report = small_ledger / name / "report.html"
    opened(browser, report, width, "light")
    eventually(browser, "return document.querySelectorAll('.plot .main-svg').length", bool)
    beyond = browser.execute_script(
        "return [...document.querySelectorAll('.plot')].flatMap(p => {"
        " const box = p.getBoundingClientRect();"
        " return [...p.querySelectorAll('.annotation-text, .legendtext, .xtick, .ytick')].filter("
        " t => { const b = t.getBoundingClientRect();"
        " return b.width && (b.left < box.left - 1 || b.right > box.right + 1) })"
        " .map(t => t.textContent)})"
    )
    assert beyond == []
    shares = browser.execute_script(
        "return [...document.querySelectorAll('.plot')].map("
        "p => p._fullLayout._size.w / p.clientWidth)"
    )
    assert min(shares) > 0.55, "labels take the room of what they name"
    quiet_and_alone(browser, report)
