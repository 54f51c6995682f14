"""The page in a real headless Chromium."""

from __future__ import annotations

import pytest

pytest.importorskip("starlette", reason="the page needs the extra `serve`")
from tests.live.browser import CHROMIUM, Browser
from tests.live.running import LiveRun
from tests.live.servers import RtspServer, free_port
from tools.site.axe import axe_script, in_words, violations
from tools.site.keyboard import unreached_by_tab


def check_curves_move(browser: Browser) -> None:
    """The curves of all intensities grow with each hop."""
    newest = "groups[0].plot.data[0].at(-1)"
    first = browser.evaluate(newest)
    browser.wait_for(f"{newest} > {first + 0.9}")
    assert browser.evaluate("groups[0].plot.data.length") == 7
    assert browser.evaluate("document.querySelectorAll('.values tbody tr').length") == 6


def check_a_lost_stream_is_shown_at_once(browser: Browser, server: RtspServer) -> None:
    """A lamp changes within a second of a killed stream."""
    lamp = "document.querySelector('#lamps [data-modality=vision]').dataset.state"
    browser.wait_for(f"{lamp} === 'live'")
    server.kill()
    assert browser.wait_for(f"{lamp} === 'missing'") < 1.0
    why = browser.evaluate("document.querySelector('#lamps [data-modality=vision] .why').textContent")
    assert "sender ended" in why or "reset" in why or "refused" in why
    browser.wait_for("document.querySelector('#events li.missing')")
    browser.wait_for("document.querySelector('#picture').classList.contains('old')")


def check_a_reload_resumes(browser: Browser) -> None:
    """A reload shows what was there before, and the keyboard's choice of a source survives it."""
    root = "document.documentElement.dataset"
    # the curves and what happened are there before the next hop
    had = browser.evaluate("groups[0].plot.data[0].length")
    browser.call("Page.reload")
    browser.wait_for(f"{root}.greetings >= 1 && groups[0]?.plot?.data[0].length >= {had}")
    assert browser.evaluate("document.querySelectorAll('#events li.missing').length") >= 1
    # the keyboard switches sources, and the choice survives a reload
    browser.evaluate("document.querySelector('#sources [aria-checked=true]').focus()")
    browser.press("ArrowRight", 39)
    browser.wait_for("chosen === 'demo' && document.activeElement.dataset.source === 'demo'")
    browser.call("Page.reload")
    browser.wait_for(f"{root}.greetings >= 1 && chosen === 'demo'")
    browser.wait_for(f"{root}.pictures >= 1")


def check_every_control_has_a_name(browser: Browser) -> None:
    """Every control has a name, and what changes is said aloud."""
    unnamed = (
        "[...document.querySelectorAll('button, input, a, img, [role]')].filter((e) => !e.hidden && "
        "!(e.ariaLabel || e.alt || e.getAttribute('aria-labelledby') || e.labels?.[0]?.textContent "
        "|| e.textContent).trim())"
    )
    assert browser.evaluate(f"{unnamed}.map((e) => e.outerHTML)") == []
    assert browser.evaluate("document.querySelector('#sources').getAttribute('role')") == "radiogroup"
    assert browser.evaluate("document.querySelectorAll('#sources [role=radio][aria-checked]').length") == 2
    assert browser.evaluate("document.querySelector('#log').getAttribute('aria-live')") == "polite"


def check_it_fits_a_phone_and_both_schemes(browser: Browser) -> None:
    """Nothing is wider than a phone's screen; light and dark differ."""
    browser.resize(360, 740, mobile=True)
    browser.wait_for("document.documentElement.scrollWidth <= 360")
    ground = "getComputedStyle(document.body).backgroundColor"
    browser.prefer("light")
    light = browser.evaluate(ground)
    browser.prefer("dark")
    browser.wait_for(f"{ground} !== '{light}'")


def check_nothing_keeps_people_out(browser: Browser) -> None:
    """The keyboard reaches all controls, and axe-core finds nothing, in either scheme; the source has lost a stream."""
    assert unreached_by_tab(browser) == []
    try:
        axe = axe_script()
    except ConnectionError:
        return  # npm cannot be reached; `make docs-check` says so
    for scheme in ("light", "dark"):
        browser.prefer(scheme)
        assert in_words(violations(browser, axe)) == []


@pytest.mark.once
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: tools/install_test_servers.sh")
def test_the_page_in_a_browser(tiny_folder, lasting_clip, demo_video, tmp_path, needs_rtsp_server):
    port = free_port()
    with RtspServer(lasting_clip) as server:
        words = (f"cam={server.url}", f"demo={demo_video}", "--loop", "--serve", f"127.0.0.1:{port}")
        with LiveRun(tmp_path, tiny_folder, *words) as run, Browser() as browser:
            run.wait_until(lambda: len(run.predictions) >= 8)
            browser.resize(1200, 900)
            browser.open(f"http://127.0.0.1:{port}/")
            root = "document.documentElement.dataset"
            browser.wait_for(f"{root}.hops >= 4")
            browser.wait_for(f"{root}.pictures >= 3")
            check_curves_move(browser)
            check_a_lost_stream_is_shown_at_once(browser, server)
            check_a_reload_resumes(browser)
            check_every_control_has_a_name(browser)
            check_it_fits_a_phone_and_both_schemes(browser)
            check_nothing_keeps_people_out(browser)
            # the run is stopped: the page says so, and goes on with the next one by itself
            run.stop()
            browser.wait_for("document.querySelector('#link').classList.contains('lost')")
            server.start()
            with LiveRun(tmp_path, tiny_folder, *words) as again:
                again.wait_until(lambda: len(again.predictions) >= 4)
                browser.wait_for("!document.querySelector('#link').classList.contains('lost')", 15)
            expected = ("ERR_CONNECTION_REFUSED", "WebSocket")
            assert [p for p in browser.problems if not any(word in p for word in expected)] == []
