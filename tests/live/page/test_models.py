"""The page for models of one stream and one output, of twelve streams and forty outputs, and of kinds in between."""

from __future__ import annotations

import pytest

pytest.importorskip("starlette", reason="the page needs the extra `serve`")
from taemi_edge.bundle.outputs import RegressionSpec
from taemi_edge.palette import DARK, LIGHT, series_colours
from taemi_edge.pictures import rgb
from tests.live.browser import CHROMIUM, Browser
from tests.live.page.client import get
from tests.live.page.fed import FedPage, classes, fed_page, numbers
from tests.live.specs import CAMERA, MICROPHONE, SERIES, WORDS

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: tools/install_test_servers.sh")

#: Rows of text that overlap another or are cut off.
UNREADABLE = """[...document.querySelectorAll('#lamps li, .values tr, #latency tr, h2, #events li')].filter((e) => {
  const box = e.getBoundingClientRect();
  return e.offsetParent && (box.height < 14 || e.scrollWidth > e.clientWidth + 1 || box.right > innerWidth + 1);
}).map((e) => e.textContent)"""
#: Colour and dash of each curve.
COLOURS = "groups.flatMap((g) => g.plot.series.slice(1).map((s) => s.stroke()))"
LOOKS = "groups.flatMap((g) => g.plot.series.slice(1).map((s) => g.name + s.stroke() + (s.dash || []).join()))"


def opened(browser: Browser, page: FedPage, width: int = 1200, height: int = 900) -> None:
    browser.resize(width, height)
    browser.open(page.server.url)
    browser.wait_for("document.documentElement.dataset.greetings >= 1")
    page.feed(1)
    browser.wait_for("document.documentElement.dataset.hops >= 1")


def fits(browser: Browser) -> None:
    """Nothing is wider than a desk's screen or a phone's, and every row can be read."""
    for width, height in ((1200, 900), (360, 740)):
        browser.resize(width, height, mobile=width < 500)
        browser.wait_for(f"document.documentElement.scrollWidth <= {width}")
        assert browser.evaluate(UNREADABLE) == []
    browser.resize(1200, 900)


@pytest.mark.once
@needs_chromium
def test_one_stream_and_one_output():
    with fed_page({"imu": SERIES}, {"speed": numbers(1, None)}) as page, Browser() as browser:
        page.feed(40)
        opened(browser, page)
        assert browser.evaluate("document.querySelectorAll('#lamps li').length") == 1
        assert browser.evaluate("document.querySelectorAll('.values tbody tr').length") == 1
        assert browser.evaluate("byId('view').hidden")  # there is nothing to see and nothing is said
        assert browser.evaluate("document.querySelector('.curves h2').textContent") == "Speed"
        low, high = browser.evaluate("groups[0].span")
        assert low < -1
        assert high > 30  # a number without bounds has an axis that follows it
        fits(browser)
        assert browser.problems == []


@pytest.mark.once
@needs_chromium
def test_twelve_streams_and_forty_outputs():
    streams = {f"sensor_number_{index}": SERIES for index in range(12)}
    with fed_page(streams, {"states_of_the_valve": classes(40)}) as page, Browser() as browser:
        page.feed(60)
        page.feed(30, missing=("sensor_number_3", "sensor_number_11"))
        opened(browser, page)
        assert browser.evaluate("document.querySelectorAll('#lamps li').length") == 12
        assert browser.evaluate("document.querySelectorAll('.values tbody tr').length") == 40
        assert browser.evaluate(f"new Set({LOOKS}).size") == 40  # no two curves look alike
        assert browser.evaluate(f"new Set({COLOURS}).size") == 40  # nor have the same colour
        assert browser.evaluate("groups[0].plot.series.filter((s) => s.alpha === 1 && s.label).length") in range(8, 14)
        band_px = browser.evaluate("BAND_PX * 0.8 * 0.75")
        assert band_px >= 9  # the names in the bands
        assert browser.evaluate("groups[0].plot.height") > 400  # the bands took no room from the curves
        fits(browser)
        assert browser.problems == []


@pytest.mark.once
@needs_chromium
def test_several_groups_of_outputs_and_a_prediction_that_is_missing():
    streams = {"camera": CAMERA, "microphone": MICROPHONE, "said": WORDS, "typed": WORDS}
    outputs = {
        "affect": RegressionSpec(names=("valence", "arousal", "dominance"), range=(-1.0, 1.0)),
        "gesture": classes(7),
        "noises": classes(5, exclusive=False),
    }
    with fed_page(streams, outputs) as page, Browser() as browser:
        page.feed(40)
        opened(browser, page)
        titles = "[...document.querySelectorAll('.curves h2')].map((e) => e.firstChild.textContent)"
        assert browser.evaluate(titles) == ["Affect", "Gesture", "Noises"]
        assert browser.evaluate("document.querySelector('[data-output=affect] .best-now').textContent") == ""
        best = browser.evaluate("document.querySelector('[data-output=gesture] .best-now').textContent")
        assert best.startswith("class ")
        bold = "[...document.querySelectorAll('[data-output=gesture] tr.best th')].map((e) => e.textContent)"
        assert browser.evaluate(bold) == [best.rpartition(" ")[0]]
        # a bar of a number below zero lies left of the middle
        left = (
            "[...document.querySelectorAll('[data-output=affect] .bar > i')].map((e) => parseFloat(e.style.marginLeft))"
        )
        values = (
            "[...document.querySelectorAll('[data-output=affect] .number')].slice(1).map((e) => Number(e.textContent))"
        )
        assert [share < 49 for share in browser.evaluate(left)] == [value < -0.02 for value in browser.evaluate(values)]
        assert browser.evaluate("byId('transcript').textContent") == "said: so it is\ntyped: so it is"
        page.lose("microphone")
        browser.wait_for("document.querySelector('[data-modality=microphone]').dataset.state === 'missing'")
        page.feed(1, missing=("camera",), no_prediction=True)
        browser.wait_for("document.querySelector('[data-output=gesture] .best-now').textContent === 'no prediction'")
        fits(browser)
        assert browser.problems == []


@pytest.mark.once
@needs_chromium
def test_a_hidden_curve_stays_hidden_when_the_page_connects_again():
    with fed_page({"imu": SERIES}, {"speed": numbers(3)}) as page, Browser() as browser:
        page.feed(10)
        opened(browser, page)
        browser.evaluate("document.querySelectorAll('.values input')[1].click()")
        assert browser.evaluate("groups[0].plot.series.map((s) => s.show)") == [True, True, False, True]
        browser.evaluate("socket.close()")
        browser.wait_for("document.documentElement.dataset.greetings >= 2")
        assert browser.evaluate("groups[0].plot.series.map((s) => s.show)") == [True, True, False, True]
        assert browser.evaluate("[...document.querySelectorAll('.values input')].map((e) => e.checked)") == [
            True,
            False,
            True,
        ]


def test_metrics_carry_every_number_of_every_output():
    with fed_page({"imu": SERIES, "heart": SERIES}, {"speed": numbers(2, None), "gesture": classes(3)}) as page:
        page.feed(2, missing=("heart",))
        body = get(f"{page.server.url}metrics")[1]
    lines = [line for line in body.splitlines() if line.startswith("taemi_edge_output_value{")]
    assert len(lines) == 5
    assert sum(float(line.split()[-1]) for line in lines if 'output="gesture"' in line) == pytest.approx(1.0)
    assert 'taemi_edge_stream_state{modality="heart",source="rig",state="missing"} 1.0' in body


def test_metrics_of_a_hop_without_a_prediction_are_no_numbers():
    with fed_page({"imu": SERIES}, {"gesture": classes(2)}) as page:
        page.feed(1, missing=("imu",), no_prediction=True)
        body = get(f"{page.server.url}metrics")[1]
    assert body.count('output="gesture",source="rig"} NaN') == 2


@pytest.mark.once
@needs_chromium
def test_the_page_has_the_colours_of_the_palette_on_light_and_on_dark_ground():
    with fed_page({"imu": SERIES}, {"mood": classes(6)}) as page, Browser() as browser:
        page.feed(20)
        for scheme, background in (("light", LIGHT), ("dark", DARK)):
            browser.prefer(scheme)
            opened(browser, page)
            assert browser.evaluate(COLOURS) == list(series_colours(6, background))
            shown = "[...document.querySelectorAll('.swatch')].map((e) => getComputedStyle(e).color)"
            assert browser.evaluate(shown) == [f"rgb{rgb(c)}" for c in series_colours(6, background)]
            browser.prefer("dark" if scheme == "light" else "light")  # while it is open
            other = DARK if scheme == "light" else LIGHT
            browser.wait_for(f"{COLOURS}.join() === '{','.join(series_colours(6, other))}'")
        assert browser.problems == []


@pytest.mark.once
@needs_chromium
def test_the_page_says_that_a_model_learned_from_synthetic_data():
    said = "synthetic <b>pumps</b> " + "x" * 300
    with fed_page({"imu": SERIES}, {"speed": numbers(1, None)}, trained_on=said) as page, Browser() as browser:
        page.feed(2)
        browser.resize(360, 740, mobile=True)
        browser.open(page.server.url)
        browser.wait_for("document.documentElement.dataset.greetings >= 1")
        told = browser.evaluate("byId('training').textContent")
        assert told.startswith("trained on synthetic data: synthetic <b>pumps</b> xxx")
        assert len(told) < 240
        assert browser.evaluate("byId('training').checkVisibility()")
        assert browser.evaluate("document.documentElement.scrollWidth") <= 360
        page.feed(1)  # a prediction of another model, which was taken up
        browser.wait_for("!byId('training').checkVisibility()")
        assert browser.problems == []
    with fed_page({"imu": SERIES}, {"speed": numbers(1, None)}, trained_on="60 pumps") as page, Browser() as browser:
        opened(browser, page)
        assert not browser.evaluate("byId('training').checkVisibility()")
