"""What a kind of stream must offer to the runtime: the state of one stream of one source, and how its inputs are made.

`Kind` is the protocol. Each module beside this one implements it with functions of these names, and
`taemi_edge.runtime.kinds.KINDS` is the table of them. No kind runs an encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.media.faces import Face, FaceDetector
from taemi_edge.media.slots import SlotPool
from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.media.transcripts import Word
from taemi_edge.runtime.presence import StreamPresence
from taemi_edge.runtime.rings import RingIndex, Span, StepCounts
from taemi_edge.runtime.work import Item, Items, Stopwatch


@dataclass(frozen=True, eq=False)
class Opening:
    """What the state of one stream of one source is opened with.

    Attributes:
        spec: what the manifest says of the stream.
        presence: notes when usable data arrives.
        capacity: how many rows the source has in the stream's ring.
        steps: how many steps the encoder gives for an input; None for a text.
        fixed_steps: how many steps a text's encoder gives whatever the length of the text; None for one a token.
        patience_s: how long data that arrives late is waited for.
        words: what is known beforehand to be said, in the order of time.
        tokenizer: of a text.
        detector: finds the faces of a video that looks for them.
        name: of the stream, for messages.
        slots: where inputs may be written so that nobody copies them; None where inputs are copied.
        source: the number of the source.
    """

    spec: Any
    presence: StreamPresence
    capacity: int
    steps: StepCounts | None = None
    fixed_steps: int | None = None
    patience_s: float = 0.0
    words: Sequence[Word] = ()
    tokenizer: WordTokenizer | None = None
    detector: FaceDetector | None = None
    name: str = ""
    slots: SlotPool | None = None
    source: int = 0


class StreamState(Protocol):
    """One stream of one source: its presence, and where its features lie.

    `prepare` may be called in a thread of the source's own; everything else belongs to the executor's thread.
    """

    presence: StreamPresence
    #: Of a video: the share of the next hop's frames that are encoded.
    frames_share: float

    @property
    def face(self) -> Face | None:
        """The face that was last seen; None of a stream without faces."""
        ...

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the last window; none of a stream without words."""
        ...

    def prepare(self, pieces: Sequence[Any], end_s: float, watch: Stopwatch, lazily: bool) -> Any:
        """Do what is costly with a hop's pieces, and return what `batches` takes.

        Args:
            end_s: where the hop ends.
            watch: counts times under names of their own, such as "face".
            lazily: do it only when `batches` asks for it, so that a long hop need not lie in memory as a whole.
        """
        ...

    def batches(self, prepared: Any, lost: bool) -> Iterator[Sequence[Any]]:
        """What a hop brought, at most MAX_BATCH inputs at a time; notes their arrival.

        Args:
            prepared: what `prepare` gave.
            lost: the stream is known to be gone at the hop's end: its encoder need not run.
        """
        ...

    def place(self, batch: Sequence[Any]) -> Sequence[Item]:
        """Give inputs their rows of the ring."""
        ...

    def at_hop_end(self, after_s: float, until_s: float) -> Sequence[Item]:
        """What is encoded for the window (after_s, until_s] as a whole; nothing of kinds that encode piece by piece."""
        ...

    def rows(self, after_s: float, until_s: float) -> Span:
        """The rows of the features in (after_s, until_s], possibly none."""
        ...

    def repeated(self, items: Sequence[Item]) -> Sequence[Item]:
        """The same hop for a device that has no earlier features: forget all but what these items bring.

        Args:
            items: those that were placed last.

        Returns:
            What is to be encoded, which may be more than the items.
        """
        ...

    def forget(self) -> None:
        """Forget all features; what is still known is encoded again."""
        ...

    def refuse(self) -> None:
        """Forget features that are no numbers, and do not encode the same data again."""
        ...

    def forget_face(self) -> None:
        """Show no face until the next one is found."""
        ...


class Intake(Protocol):
    """Collects what a program hands over of one stream, and gives it out hop by hop."""

    def add(self, data: Any, end_s: float) -> None:
        """Take in data; what has no time of its own ends at `end_s`.

        Raises:
            UsageError: data of another type, shape or range.
        """
        ...

    def first_s(self) -> float | None:
        """The time of the oldest data that waits, if the start of a session must lie before it."""
        ...

    def take(self, end_s: float, inside: Callable[[float], float]) -> list[Any]:
        """Take the pieces that belong to a hop.

        Args:
            end_s: where the hop ends, on the caller's clock.
            inside: turns a time of the caller's clock into one of the session's.
        """
        ...


class Kind(Protocol):
    """A kind of stream. `spec` is the class of `taemi_edge.bundle.streams` that `KINDS` names beside it."""

    def open_stream(self, opening: Opening) -> StreamState:
        """Open the state of a stream."""
        ...

    def open_intake(self, name: str, spec: Any, window_s: float) -> Intake:
        """Open the intake of a stream for a program's own data."""
        ...

    def newest_s(self, data: Any) -> float | None:
        """The newest time that a program's data itself names; None where it has no times."""
        ...

    def input_lengths(self, spec: Any) -> tuple[int, int] | None:
        """The length of an input and of its context; None of a kind whose steps need not be counted."""
        ...

    def example(self, spec: Any, length: int) -> dict[str, Array]:
        """An input of a length, without the batch axis, to count the steps that an encoder gives for it."""
        ...

    def capacity(self, spec: Any, window_s: float, steps: int) -> int:
        """How many rows a ring needs for one window.

        Args:
            steps: how many an input leaves in the ring at most; of a text, how many it has where that is fixed, else 0.
        """
        ...

    def share_key(self, item: Item) -> Hashable:
        """What must be equal of two items that share a call."""
        ...

    def batch_feeds(self, items: Sequence[Item]) -> dict[str, Array]:
        """The feeds of an encoder for items that share a call."""
        ...


@dataclass(eq=False)
class RingState:
    """What kinds share that encode piece by piece and keep features in a ring."""

    presence: StreamPresence
    ring: RingIndex
    source: int = 0
    face: Face | None = field(default=None, init=False)
    words: tuple[str, ...] = field(default=(), init=False)
    frames_share: float = field(default=1.0, init=False)

    def at_hop_end(self, after_s: float, until_s: float) -> Sequence[Item]:
        return []

    def rows(self, after_s: float, until_s: float) -> Span:
        return self.ring.window(after_s, until_s)

    def repeated(self, items: Sequence[Item]) -> Sequence[Item]:
        self.ring.keep_newest(sum(item.rows.count for item in items))
        return items

    def _placed(self, name: str, new: Sequence[tuple[Array, int, int, Sequence[float]]]) -> Items:
        """Give inputs their rows of the ring.

        Args:
            name: of the encoder's input.
            new: the inputs; each with the number of its slot, with how many steps the encoder gives for it, and with
                the times of those that are kept, its last ones.
        """
        numbers: list[int] = []
        placed = self.ring.push_each([times_s for _, _, _, times_s in new])
        for (_, slot, steps, _), rows in zip(new, placed, strict=True):
            numbers += (slot, self.source, rows.start, steps - rows.count, rows.count, 0)
        return Items(name, [value for value, _, _, _ in new], numbers)

    def forget(self) -> None:
        self.ring.keep_newest(0)

    def refuse(self) -> None:
        self.forget()

    def forget_face(self) -> None:
        self.face = None


def shapes_of(item: Item) -> Hashable:
    """The shapes of an item's feeds: items of equal shapes share a call."""
    return tuple(value.shape for value in item.feeds.values())


def stacked(items: Sequence[Item]) -> dict[str, Array]:
    """The feeds of items of equal shapes, with a batch axis."""
    return {name: np.stack([item.feeds[name] for item in items]) for name in items[0].feeds}


def described(data: object) -> str:
    """What a value is, for a message."""
    if isinstance(data, np.ndarray):
        return f"an array {data.dtype} {data.shape}"
    return f"a {type(data).__name__}"


def earliest(times_s: Iterable[float]) -> float | None:
    """The smallest of some times; None where there are none."""
    return min(times_s, default=None)
