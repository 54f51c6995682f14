"""The executor on the processor: several sources in one call, features that are no numbers, a device that is lost."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from taemi_edge.bench.feeds import Feeds
from taemi_edge.bench.runtime_model import RepeatedWindow
from taemi_edge.bundle.folder import Bundle
from taemi_edge.errors import BackendError
from taemi_edge.runtime.host_executor import HostExecutor
from taemi_edge.runtime.host_way import HostWay
from taemi_edge.runtime.opening import open_executor, open_sessions
from taemi_edge.runtime.rings import Span
from taemi_edge.runtime.sessions import Sessions
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


SIDE_BY_SIDE = HostWay(dict.fromkeys(("vision", "audio", "text", "fusion"), 1), lanes=3)


def opened_with(bundle: Bundle, way: HostWay | None, sources: int = 8) -> HostExecutor:
    return HostExecutor(bundle, Layout(sources, 4.0, 0.5), open_sessions(bundle, "cpu", 1), "cpu", way)


@pytest.fixture
def side_by_side(tiny: Bundle):
    opened = opened_with(tiny, SIDE_BY_SIDE)
    yield opened
    opened.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lane")]


@pytest.mark.parametrize("kind", ["hop", "window"])
@pytest.mark.parametrize("pattern", PRESENCE_PATTERNS, ids=PATTERN_NAMES)
def test_side_by_side_gives_the_same_bit_for_bit(tiny: Bundle, executor, side_by_side, pattern, kind):
    one, other = (repeated(tiny, each, pattern, kind) for each in (executor, side_by_side))
    for _ in range(3):
        one.run()
        other.run()
        assert one.output().tobytes() == other.output().tobytes()
    assert set(one.parts_ms()) == set(other.parts_ms())


def test_small_calls_side_by_side_give_what_pytorch_gave(tiny: Bundle):
    small = opened_with(tiny, replace(SIDE_BY_SIDE, largest={"vision": 2, "audio": 1, "text": 3, "fusion": 5}))
    window = Feeds(tiny).window()
    expected = np.tile(window.expected[tiny.manifest.pattern_name(PRESENCE_PATTERNS[0])], (8, 1))
    np.testing.assert_allclose(
        repeated(tiny, small, PRESENCE_PATTERNS[0], "window").output(), expected, atol=window.tolerance, rtol=0
    )
    small.close()


def test_side_by_side_a_nan_is_found_at_its_source(tiny: Bundle, side_by_side):
    works = list(repeated(tiny, side_by_side, PRESENCE_PATTERNS[0]).works)
    [sound] = works[3].items["audio"]
    bad = Item({"samples": np.full_like(sound.feeds["samples"], np.nan)}, sound.rows, sound.skipped)
    works[3] = Work(3, {"audio": [bad]}, works[3].window)
    done = side_by_side.execute(works)
    assert [sorted(each.faults) for each in done] == [["audio"] if i == 3 else [] for i in range(8)]


def test_side_by_side_an_error_of_one_stream_is_raised_and_the_next_hop_runs(tiny: Bundle, side_by_side):
    prepared = repeated(tiny, side_by_side, PRESENCE_PATTERNS[0])
    right = prepared.output()
    [frame, *_] = prepared.works[0].items["vision"]
    bad = Item({"pixels": frame.feeds["pixels"].astype(np.int32)}, frame.rows)
    with pytest.raises(BackendError, match="vision: pixels: expected uint8"):
        side_by_side.execute([Work(0, {**prepared.works[0].items, "vision": [bad]}, prepared.works[0].window)])
    prepared.run()
    assert prepared.output().tobytes() == right.tobytes()


def test_rows_that_would_change_each_other_get_calls_of_their_own(tiny: Bundle, monkeypatch: pytest.MonkeyPatch):
    """As where a graph quantises with the range that all rows of a batch have together."""
    monkeypatch.setattr(Sessions, "mixes_rows", lambda self, part: part in ("audio", "fusion"))
    opened = opened_with(tiny, SIDE_BY_SIDE, sources=2)
    rows = []
    for part in tiny.manifest.part_names:
        run = opened.sessions[part].run
        counted = partial(_counted, part, run, rows)
        monkeypatch.setattr(opened.sessions[part], "run", counted)
    window = RepeatedWindow(opened, tiny.manifest, "window", Feeds(tiny).window(), PRESENCE_PATTERNS[0], sources=2)
    rows.clear()
    window.run()
    opened.close()
    assert {count for part, count in rows if part in ("audio", "fusion")} == {1}
    assert max(count for part, count in rows if part == "vision") > 1


def _counted(part, run, rows, feeds):
    rows.append((part, len(next(iter(feeds.values())))))
    return run(feeds)
