"""The sources of a configuration are checked before anything is opened."""

from __future__ import annotations

import pytest

from taemi_edge.errors import MediaError, UsageError
from taemi_edge.live.config import LiveConfig, SourceConfig
from taemi_edge.live.source_opening import describe_source, plan_sources


def test_each_source_has_its_addresses_its_words_and_what_it_will_never_have(demo_vtt):
    sources = (
        SourceConfig(name="door", uri="rtsp://door/1", transcript="unix:/run/door.sock"),
        SourceConfig(name="hall", audio="alsa:default", transcript=str(demo_vtt)),
        SourceConfig(name="yard", video="v4l2:/dev/video7", audio="rtsp://yard/1"),
    )
    config = LiveConfig(source=sources)
    door, hall, yard = plan_sources(config)
    assert [modalities for _, modalities in door.addresses] == [{"vision", "audio"}]
    assert [(address.kind, set(modalities)) for address, modalities in yard.addresses] == [
        ("v4l2", {"vision"}),
        ("url", {"audio"}),
    ]
    assert door.inbox is not None
    assert (hall.inbox, yard.inbox) == (None, None)
    assert hall.words
    assert [set(describe_source(plan, config).absent) for plan in (door, hall, yard)] == [set(), {"vision"}, {"text"}]


def test_a_file_is_announced_as_such(demo_video, caplog):
    config = LiveConfig(source=(SourceConfig(name="demo", uri=str(demo_video)),))
    describe_source(plan_sources(config)[0], config)
    assert "is a file: it is played at its own pace, once: --loop plays it again and again" in caplog.text


@pytest.mark.parametrize(
    ("uri", "error"), [("rtps://door/1", UsageError), ("nothing.mp4", MediaError)], ids=["scheme", "file"]
)
def test_an_address_that_is_none_is_found_at_once(uri: str, error: type[Exception]):
    with pytest.raises(error):
        plan_sources(LiveConfig(source=(SourceConfig(name="a", uri=uri),)))
