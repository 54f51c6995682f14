"""The executor on the processor: several sources in one call, features that are no numbers, a device that is lost."""

from __future__ import annotations

import numpy as np
import pytest

from taemi_edge.bench.feeds import Feeds
from taemi_edge.bench.runtime_model import RepeatedWindow
from taemi_edge.bundle.folder import Bundle
from taemi_edge.errors import BackendError
from taemi_edge.runtime.host_executor import HostExecutor
from taemi_edge.runtime.opening import open_executor
from taemi_edge.runtime.rings import Span
from taemi_edge.runtime.work import Item, Layout, Work
from taemi_edge.taemi.names import MODALITIES, PATTERN_NAMES, PRESENCE_PATTERNS


@pytest.fixture(scope="module")
def executor(tiny: Bundle):
    opened = open_executor(tiny, Layout(8, 4.0, 0.5), "cpu", 1)
    yield opened
    opened.close()


def repeated(bundle: Bundle, executor: HostExecutor, pattern, kind="hop") -> RepeatedWindow:
    return RepeatedWindow(executor, bundle.manifest, kind, Feeds(bundle).window(), pattern, sources=8)


@pytest.mark.parametrize("kind", ["hop", "window"])
@pytest.mark.parametrize("pattern", PRESENCE_PATTERNS, ids=PATTERN_NAMES)
def test_every_pattern_gives_what_pytorch_gave(tiny: Bundle, executor, pattern, kind):
    window = Feeds(tiny).window()
    prepared = repeated(tiny, executor, pattern, kind)
    prepared.run()
    expected = np.tile(window.expected[tiny.manifest.pattern_name(pattern)], (8, 1))
    np.testing.assert_allclose(prepared.output(), expected, atol=window.tolerance, rtol=0)


def test_eight_sources_of_eight_patterns_share_a_call(tiny: Bundle, executor):
    window = Feeds(tiny).window()
    works = [repeated(tiny, executor, pattern, "window").works[i] for i, pattern in enumerate(PRESENCE_PATTERNS)]
    for pattern, done in zip(PRESENCE_PATTERNS, executor.execute(works), strict=True):
        expected = window.expected[tiny.manifest.pattern_name(pattern)]
        np.testing.assert_allclose(done.outputs["intensities"], expected, atol=window.tolerance, rtol=0)


def test_a_source_with_a_nan_does_not_touch_the_others(tiny: Bundle, executor):
    prepared = repeated(tiny, executor, PRESENCE_PATTERNS[0])
    good = prepared.output()
    works = list(prepared.works)
    [sound] = works[3].items["audio"]
    bad = Item({"samples": np.full_like(sound.feeds["samples"], np.nan)}, sound.rows, sound.skipped)
    works[3] = Work(3, {"audio": [bad]}, works[3].window)
    done = executor.execute(works)
    assert [bool(d.faults) for d in done] == [i == 3 for i in range(8)]
    assert done[3].faults == {"audio"}
    assert done[3].outputs is None
    np.testing.assert_allclose(done[0].outputs["intensities"], good[0], atol=1e-6)


def test_intensities_that_are_no_numbers_stop_the_run(tiny: Bundle, executor):
    rows = {m: Span(0, 2) for m in MODALITIES}
    executor._rings["vision"][0][:2] = np.nan
    with pytest.raises(BackendError, match="fusion gave NaN for features that are numbers"):
        executor.execute([Work(0, window=rows)])
    executor._rings["vision"][0][:2] = 0
