"""Topics and fields as they are typed."""

from __future__ import annotations

import pytest

from taemi_edge.errors import UsageError
from taemi_edge.media.messages.topic_field import TopicField, field_paths, parse_topic_field, shown_path


@pytest.mark.parametrize(
    ("text", "topics", "expected"),
    [
        ("/camera/image_raw", (), TopicField("/camera/image_raw")),
        ("/imu/data.linear_acceleration.x", (), TopicField("/imu/data", "linear_acceleration.x")),
        ("/imu/data.a.x,b", ("/imu/data",), TopicField("/imu/data", "a.x,b")),
        ("cam.front", ("cam", "cam.front"), TopicField("cam.front")),
        ("cam.front.x[2]", ("cam", "cam.front"), TopicField("cam.front", "x[2]")),
        ("/imu.größe-x", (), TopicField("/imu", "größe-x")),
        ("/audio?rate=8000", (), TopicField("/audio", "?rate=8000")),
        ("/mic.wave.left?rate=8000&format=F32LE", (), TopicField("/mic", "wave.left?rate=8000&format=F32LE")),
        ("cam.rear", ("cam", "cam.front"), TopicField("cam", "rear")),
    ],
)
def test_a_topic_and_its_field(text: str, topics: tuple[str, ...], expected: TopicField) -> None:
    found = parse_topic_field(text, topics)
    assert found == expected
    assert str(found) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".x",
        "?",
        "/a?",
        "?rate=1",
        "/imu.",
        "/imu.1x",
        "/imu.a..b",
        "/imu.a,",
        "/imu.x[]",
        "/imu.x[-1]",
        "/i.a b",
        "/i.a/b",
    ],
)
def test_what_is_no_topic_or_no_field_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected"):
        parse_topic_field(text)


@pytest.mark.parametrize("field", ["a," * 2000 + "a", "a" * 70_000, ".".join("a" * 40), "a" + "[0]" * 50])
def test_a_field_beyond_all_reason_is_refused_in_one_line(field: str) -> None:
    with pytest.raises(UsageError) as refused:
        field_paths(field)
    assert len(str(refused.value)) < 400 or "[0]" in field


def test_a_path_is_shown_as_it_is_typed() -> None:
    text = "transforms[0].matrix[1][2].x"
    assert shown_path(field_paths(text)[0]) == text
