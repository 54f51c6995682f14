"""What others say on a network of robots: keys of messages, liveliness tokens, attachments; and addresses of topics."""

from __future__ import annotations

from taemi_edge.live.capture.sensors.addresses import parse_sensor
from taemi_edge.live.ros.names import Attachment, OwnEntity, entity_of_token, kind_of_key
from taemi_edge.live.ros.place import parse_publishing, place_of
from tests.fuzz.harness import Harness
from tests.fuzz.mutation.plain import mutate_text


def _token(content: bytes) -> None:
    text = content.decode(errors="replace")
    entity = entity_of_token(text)
    kind = kind_of_key(text)
    for found in (kind, entity.kind if entity else None):
        if found is not None:
            own = OwnEntity(0, "aa", 1, "taemi_edge", "MS", "/x", found)
            again = entity_of_token(own.token)
            assert again is not None
            assert again.kind == found


def _attachment(content: bytes) -> None:
    attachment = Attachment.from_bytes(content)
    assert attachment is None or attachment.to_bytes() == content


def _topic(content: bytes) -> None:
    text = content.decode(errors="replace")
    _, target, options = parse_sensor("ros", text, "ros:...")
    options.pop("definition", None)  # files of this machine are no seeds
    options.pop("config", None)
    place = place_of(target, options)
    assert 0 <= place.domain <= 232
    parse_publishing(text)


HARNESSES = (
    Harness("ros-token", _token, mutate_text),
    Harness("ros-attachment", _attachment),
    Harness("ros-topic", _topic, mutate_text),
)
