"""What a stream can read of a topic: a reader for each type that is published, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping

from taemi_edge.bundle.streams import StreamSpec
from taemi_edge.errors import MessageError
from taemi_edge.live.ros.definitions import message_type
from taemi_edge.live.ros.names import TopicKind
from taemi_edge.live.ros.place import RosPlace
from taemi_edge.media.messages.stream_reader import StreamReader

_MOST_KINDS = 100


class TopicTypes:
    """The readers of one topic for one stream.

    Args:
        place: the topic, and the type that is expected where one is given.
        spec: what the stream takes.
    """

    def __init__(self, place: RosPlace, spec: StreamSpec) -> None:
        self._place, self._spec = place, spec
        self._readers: dict[TopicKind | None, StreamReader | MessageError] = {}

    def check_given(self) -> None:
        """Check the type that was given, if one was.

        Raises:
            MessageError: its definition is not known, or it cannot feed the stream.
        """
        if self._place.type:
            self.reader_of(TopicKind(self._place.type))

    def can_read(self, kind: TopicKind | None) -> bool:
        """Whether messages of this kind feed the stream."""
        return not isinstance(self._found(kind), MessageError)

    def reader_of(self, kind: TopicKind | None) -> StreamReader:
        """What reads the messages of a kind.

        Raises:
            MessageError: nothing does.
        """
        found = self._found(kind)
        if isinstance(found, MessageError):
            raise found
        return found

    def problem_of_all(self, kinds: Mapping[TopicKind, str]) -> str | None:
        """Why none of the kinds that nodes publish feeds the stream; None where one does.

        Args:
            kinds: each with a node that publishes it.
        """
        problems = [
            (node, found) for kind, node in kinds.items() if isinstance(found := self._found(kind), MessageError)
        ]
        if len(problems) < len(kinds):
            return None
        node, problem = problems[0]
        return f"the node {node} publishes {self._place.topic} in a form that cannot be read: {problem}"

    def _found(self, kind: TopicKind | None) -> StreamReader | MessageError:
        found = self._readers.get(kind)
        if found is None:
            if len(self._readers) >= _MOST_KINDS:
                self._readers.clear()
            try:
                found = self._open(kind)
            except MessageError as error:
                found = error
            self._readers[kind] = found
        return found

    def _open(self, kind: TopicKind | None) -> StreamReader:
        place = self._place
        if kind is None:
            if not place.type:
                raise MessageError(
                    f"{place.topic}: expected the type in the key of its messages: add ?type=PACKAGE/TYPE"
                )
            kind = TopicKind(place.type)
        if place.type and kind.type != place.type:
            raise MessageError(f"expected {place.type}, as ?type= says, got {kind.type}")
        return StreamReader(self._spec, message_type(kind, place.definition, trusts=bool(place.type)), place.field)
