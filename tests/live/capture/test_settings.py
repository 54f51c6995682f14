"""The settings of the watch are validated."""

from __future__ import annotations

from typing import Any

import pytest

from taemi_edge.live.capture.settings import WatchSettings


@pytest.mark.parametrize("values", [{"lost_after_s": 0.0}, {"stuck_after_s": 1e6}, {"retry_first_s": 1.0}])
def test_what_makes_no_sense_is_refused(values: dict[str, Any]):
    with pytest.raises(ValueError, match="expected"):
        WatchSettings(**values)


def test_the_defaults_notice_a_loss_before_the_connection_is_given_up():
    assert WatchSettings().lost_after_s < WatchSettings().read_timeout_s
