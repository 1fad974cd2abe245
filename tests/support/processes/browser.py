"""A headless browser that a page test can look into."""

import json
import shutil
import time

import pytest

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

_rest = pytest.mark.slow
# A phone and a wide screen, light and dark; every pair of them in the slow run.
WINDOWS = pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (390, "light"),
        (1440, "dark"),
        pytest.param(390, "dark", marks=_rest),
        pytest.param(1440, "light", marks=_rest),
    ],
)


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
    """Open a page in a window of a width, in the light or the dark scheme."""
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get("about:blank")
    for log in ("browser", "performance"):
        browser.get_log(log)  # what the browser's own first page did is not ours
    browser.get(page.as_uri())


def eventually(browser, script, accepts, seconds=20):
    """Return what a script returns once that is accepted, or what it returned last: plots are
    drawn after the page has loaded."""
    end = time.monotonic() + seconds
    while True:
        found = browser.execute_script(script)
        if accepts(found) or time.monotonic() > end:
            return found
        time.sleep(0.05)


def quiet_and_alone(browser, page):
    """Whether the open page said nothing on the console, asked for nothing and fits its window."""
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
