"""Live topics whose sound does not say how it lies in its messages."""

from __future__ import annotations

import pytest

from taemi_edge.errors import UsageError
from taemi_edge.live.ros.place import parse_publishing, place_of


def test_the_form_of_sound_goes_with_the_field() -> None:
    assert place_of("/mic.data", {"rate": "44100", "format": "F32LE"}).field == "data?rate=44100&format=F32LE"
    assert place_of("/mic", {"channels": "2", "domain": "3"}).field == "?channels=2"


@pytest.mark.parametrize("options", [{"rate": "fast"}, {"format": "opus"}, {"channels": "0"}])
def test_a_form_that_no_microphone_has_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="ros:/mic: expected"):
        place_of("/mic", options)


def test_what_is_published_has_no_form_of_sound() -> None:
    with pytest.raises(UsageError, match="expected no rate"):
        parse_publishing("/taemi?rate=8000")
