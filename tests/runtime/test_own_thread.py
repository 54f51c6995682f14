"""An executor in a thread of its own: every call goes there, and so does every error."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from taemi_edge.errors import BackendError
from taemi_edge.media.hops import Hop, SoundPiece
from taemi_edge.runtime.own_thread import OwnThreadExecutor
from taemi_edge.runtime.pipeline import Fleet
from taemi_edge.runtime.window import Source


def test_what_cannot_be_opened_says_why_and_leaves_no_thread():
    def open_it():
        raise BackendError("no room")

    before = threading.active_count()
    with pytest.raises(BackendError, match="no room"):
        OwnThreadExecutor(open_it)
    assert threading.active_count() == before


def test_any_thread_may_use_a_fleet_that_has_its_own(tiny, monkeypatch):
    used: set[str] = set()
    with Fleet(tiny, [Source("a")], threads=1, own_thread=True) as fleet, Fleet(tiny, [Source("a")], threads=1) as same:
        inner = fleet.executor._executor
        run = inner.execute
        monkeypatch.setattr(inner, "execute", lambda works: used.add(threading.current_thread().name) or run(works))
        hop = Hop(1.0, {"audio": [SoundPiece(0.0, np.sin(np.arange(16_000) / 9).astype(np.float32))]})
        made = []
        caller = threading.Thread(target=lambda: made.append(fleet.predict_one(0, hop)))
        caller.start()
        caller.join()
        assert made[0].outputs == same.predict_one(0, hop).outputs
        assert fleet.executor.device_memory() is None
        assert fleet.features(0, "audio", 1.0).shape == same.features(0, "audio", 1.0).shape
    assert used == {"device_0"}


def test_a_device_that_is_lost_is_closed_twice_and_leaves_no_thread():
    """When nothing can take over, what is lost is closed, and the fleet is closed again at the end of the run."""

    def fail() -> None:
        raise BackendError("it is gone")

    before = threading.active_count()
    executor = OwnThreadExecutor(lambda: SimpleNamespace(steps={}, capacity={}, close=fail))
    with pytest.raises(BackendError, match="it is gone"):
        executor.close()
    assert threading.active_count() == before
    executor.close()
