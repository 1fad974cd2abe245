"""The report in a real browser: drawn, quiet, and alone."""

import html
import json
import shutil

import pytest

from batchnorm import lab
from batchnorm.lab import report

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


@pytest.fixture(scope="module")
def page(small_run):
    return report.build(lab.load(small_run), small_run / "report.html")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not (CHROMIUM and DRIVER):
        pytest.skip("needs chromium and chromedriver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def opened(browser, page, width, scheme):
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get("about:blank")
    for log in ("browser", "performance"):
        browser.get_log(log)  # what the browser's own first page did is not ours
    browser.get(page.as_uri())


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_the_page_draws_everything_and_asks_for_nothing(browser, page, width, scheme):
    opened(browser, page, width, scheme)
    # Curves, two panels, points, four grids: eight plots, each with something drawn in it.
    assert browser.execute_script("return document.querySelectorAll('.main-svg').length") >= 8
    drawn = browser.execute_script(
        "return [...document.querySelectorAll('.plot')].map("
        "p => p.querySelectorAll('.trace, .hm').length)"
    )
    assert len(drawn) == 8
    assert all(drawn)
    assert browser.get_log("browser") == []
    requests = [
        message["params"]["request"]["url"]
        for entry in browser.get_log("performance")
        if (message := json.loads(entry["message"])["message"])["method"]
        == "Network.requestWillBeSent"
    ]
    assert page.as_uri() in requests
    assert all(url == page.as_uri() or url.startswith(("data:", "blob:")) for url in requests)
    assert browser.execute_script(
        "return document.documentElement.scrollWidth <= window.innerWidth"
    )


@pytest.mark.browser
def test_the_colours_follow_the_scheme(browser, page):
    grounds, inks = set(), set()
    for scheme in ("light", "dark"):
        opened(browser, page, 800, scheme)
        grounds.add(
            browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        )
        inks.add(
            browser.execute_script(
                "return document.querySelector('.plot .annotation-text').style.fill"
            )
        )
    assert (len(grounds), len(inks)) == (2, 2)


def test_the_page_says_what_it_measured_and_on_what(page, small_run):
    text = html.unescape(page.read_text())
    findings = lab.load(small_run).study.findings(lab.load(small_run))
    for verdict in findings.verdicts:
        assert verdict.rule.split(".")[0] in text
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
