"""Answers the requests of a Triton model: each sequence has a slot of one `Fleet`, and a batch is one call of it.

`model.py` hands over what Triton gives to it. Nothing here imports Triton.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import TypeAlias

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.values import Array
from taemi_edge.errors import DeviceLostError, TaemiError, UsageError
from taemi_edge.media.hops import Hop
from taemi_edge.runtime.cores import usable_cores
from taemi_edge.runtime.hop_builder import HopBuilder
from taemi_edge.runtime.pipeline import Fleet
from taemi_edge.runtime.prediction import Prediction
from taemi_edge.runtime.prepared_hop import PreparedHop
from taemi_edge.runtime.sessions import require_verified
from taemi_edge.runtime.window import Source, has_faces
from taemi_edge.scale.triton.config import ServedModel
from taemi_edge.scale.triton.requests import RequestData, RequestReader
from taemi_edge.scale.triton.tensors import answer_tensors

#: What Triton knows a sequence by: a number or a text.
SequenceId: TypeAlias = int | str
#: The outputs by name, or one sentence that says why there are none.
Answer: TypeAlias = dict[str, Array] | str


@dataclass(frozen=True, eq=False)
class Request:
    """What Triton hands over of a request.

    Attributes:
        sequence: its correlation id.
        starts: whether it begins the sequence.
        ends: whether it is the last one of the sequence.
        tensors: its inputs by name, with their batch axis.
    """

    sequence: SequenceId
    starts: bool = False
    ends: bool = False
    tensors: Mapping[str, Array] = field(default_factory=dict)


class _Sequence:
    """One sequence in a slot: the clock of its source, and where its data end.

    A request that is refused leaves no trace in it: everything is checked before anything is taken in.
    """

    def __init__(self, index: int, manifest: Manifest, used_s: float) -> None:
        self.index, self.used_s = index, used_s
        self._builder = HopBuilder(manifest)
        self._end_s: float | None = None
        self._newest_s: dict[str, float] = {}

    @property
    def begins_session(self) -> bool:
        """Whether what was known of the source is void: its last hop came after a long pause."""
        return self._builder.begins_session

    def hop(self, request: RequestData) -> Hop:
        """The hop that a request brings.

        Raises:
            UsageError: times that go back.
        """
        if self._end_s is not None and request.end_s <= self._end_s:
            raise UsageError(
                f"expected an end_s after that of the last request, {self._end_s:.15g} s, got {request.end_s:.15g} s"
            )
        for name, (first_s, _) in request.spans.items():
            if first_s < self._newest_s.get(name, first_s):
                raise UsageError(
                    f"{name}: expected data after {self._newest_s[name]:.15g} s, where those of the last request end, "
                    f"got some that are earlier: send each piece once, in the order of time"
                )
        for name, data in request.given.items():
            self._builder.add(name, data, request.end_s)
        self._end_s = request.end_s
        self._newest_s |= {name: last_s for name, (_, last_s) in request.spans.items()}
        hop = self._builder.hop(request.end_s)
        hop.losses.update(request.losses)
        return hop

    def in_given_time(self, prediction: Prediction) -> Prediction:
        """A prediction with its times on the clock of the source."""
        return self._builder.in_given_time(prediction)


class SequenceServer:
    """A bundle that answers requests of several sequences; a context manager that owns its runtime.

    All calls must come from the thread that opens it.

    Args:
        bundle: what is served.
        model: how it is served.
        clock: tells seconds, to see which sequences nobody uses any more.

    Raises:
        EngineError: the engines were not verified.
        UsageError, EngineError, BackendError: see `taemi_edge.runtime.opening.open_executor`.

    Example:
        >>> import numpy as np
        >>> from taemi_edge.bundle.folder import open_bundle
        >>> from taemi_edge.scale.triton.config import ServingOptions, settle
        >>> bundle = open_bundle("export/taemi-tiny")
        >>> with SequenceServer(bundle, settle(bundle, ServingOptions(slots=2))) as server:
        ...     first = Request("door", starts=True, tensors={"end_s": np.array([[0.5]])})
        ...     answers = server.answer([first, Request("desk", tensors={"end_s": np.array([[0.5]])})])
        >>> answers[0]["presence"].tolist()
        [[2, 2, 2]]
        >>> answers[1]
        "expected the first request of the sequence 'desk' to say that it starts one: set sequence_start"
    """

    def __init__(self, bundle: Bundle, model: ServedModel, clock: Callable[[], float] = time.monotonic) -> None:
        require_verified(bundle)
        self._manifest, self._model, self._clock = bundle.manifest, model, clock
        self._reader = RequestReader(bundle.manifest)
        self._sequences: dict[SequenceId, _Sequence] = {}
        #: Why there are no more predictions: the device is lost, and nothing can take over.
        self._lost = ""
        self._free = list(reversed(range(model.slots)))
        with ExitStack() as opened:
            self._fleet = opened.enter_context(
                Fleet(
                    bundle,
                    [Source() for _ in range(model.slots)],
                    device=model.device,
                    threads=model.threads,
                    window_s=model.window_s,
                    hop_s=model.hop_s,
                    own_thread=model.device != "cpu",  # a GPU takes calls from one thread alone
                )
            )
            self._threads = _threads_for_faces(self._manifest, model)
            if self._threads is not None:
                opened.enter_context(self._threads)
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Free the device."""
        self._opened.close()

    def __enter__(self) -> SequenceServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """Answer the requests of a batch, each with its outputs or with one sentence that says what is wrong with it.

        What nobody has foreseen is raised, and the sequences of the batch have to start again.
        """
        try:
            return self._answer_all(requests)
        except BaseException:
            for request in requests:
                self._free_slot(request.sequence)
            raise

    def _answer_all(self, requests: Sequence[Request]) -> list[Answer]:
        answers: dict[int, Answer] = {}
        waiting = list(enumerate(requests))
        while waiting and not self._lost:  # a sequence that comes twice gets a second call
            first = {request.sequence: number for number, request in reversed(waiting)}
            batch = {number: request for number, request in waiting if first[request.sequence] == number}
            answers |= self._answer_each(batch)
            waiting = [(number, request) for number, request in waiting if number not in batch]
        return [answers.get(number, self._lost) for number in range(len(requests))]

    def _answer_each(self, requests: Mapping[int, Request]) -> dict[int, Answer]:
        """Answer requests of different sequences with one call of the runtime."""
        answers: dict[int, Answer] = {}
        sequences: dict[int, _Sequence] = {}
        hops: dict[int, Hop] = {}
        for number, request in requests.items():
            try:
                sequence = self._sequence_of(request)
                hops[number] = self._taken_in(request, sequence)
                sequences[number] = sequence
            except TaemiError as error:
                answers[number] = str(error)
        indexed = {number: (sequences[number].index, hop) for number, hop in hops.items()}
        prepared = self._prepared(requests, indexed, answers)
        answers |= self._predicted(requests, sequences, prepared)
        for request in requests.values():
            if request.ends:
                self._free_slot(request.sequence)
        return answers

    def _sequence_of(self, request: Request) -> _Sequence:
        """The sequence of a request; one that starts gets a slot, or begins anew in its own."""
        known = self._sequences.get(request.sequence)
        if not request.starts:
            if known is None:
                raise UsageError(
                    f"expected the first request of the sequence {request.sequence!r:.80} to say that it starts one: "
                    f"set sequence_start"
                )
            known.used_s = self._clock()
            return known
        index = self._slot_for(request) if known is None else known.index
        self._fleet.reset(index, Source(str(request.sequence)))
        self._sequences[request.sequence] = _Sequence(index, self._manifest, self._clock())
        return self._sequences[request.sequence]

    def _slot_for(self, request: Request) -> int:
        """A free slot, or that of a sequence that never ended and that Triton has dropped by now."""
        if self._free:
            return self._free.pop()
        oldest = min(self._sequences, key=lambda sequence: self._sequences[sequence].used_s)
        if self._clock() - self._sequences[oldest].used_s < self._model.idle_s:
            raise UsageError(
                f"expected at most {self._model.slots} sequences at once, got {request.sequence!r:.80} beside them: "
                f"end one, or export the model with more --slots"
            )
        return self._sequences.pop(oldest).index

    def _free_slot(self, sequence: SequenceId) -> None:
        ended = self._sequences.pop(sequence, None)
        if ended is not None and not self._lost:
            self._fleet.reset(ended.index, Source())
            self._free.append(ended.index)

    def _taken_in(self, request: Request, sequence: _Sequence) -> Hop:
        hop = sequence.hop(self._reader.read(request.tensors))
        if sequence.begins_session and not request.starts:
            self._fleet.reset(sequence.index, Source(str(request.sequence)))
        return hop

    def _prepared(
        self, requests: Mapping[int, Request], hops: Mapping[int, tuple[int, Hop]], answers: dict[int, Answer]
    ) -> dict[int, PreparedHop]:
        """Cut sound and find faces, those of several sequences at the same time; what fails is answered at once."""
        prepare = self._fleet.prepare
        jobs: dict[int, Callable[..., PreparedHop]]
        if self._threads is None or len(hops) == 1:
            jobs = {number: partial(prepare, index, hop) for number, (index, hop) in hops.items()}
        else:
            threads = self._threads
            jobs = {number: threads.submit(prepare, index, hop).result for number, (index, hop) in hops.items()}
        prepared = {}
        for number, result in jobs.items():
            try:
                prepared[number] = result()
            except TaemiError as error:
                answers[number] = self._given_up(requests[number], error)
        return prepared

    def _predicted(
        self, requests: Mapping[int, Request], sequences: Mapping[int, _Sequence], prepared: Mapping[int, PreparedHop]
    ) -> dict[int, Answer]:
        """Make the predictions of all sequences in one call.

        Where that fails, nobody knows what their windows hold: all of them have to start again.
        """
        if not prepared:
            return {}
        try:
            predictions = self._fleet.predict({sequences[number].index: hop for number, hop in prepared.items()})
        except TaemiError as error:
            return {number: self._given_up(requests[number], error) for number in prepared}
        answers: dict[int, Answer] = {}
        for number, prediction in zip(_by_index(prepared, sequences), predictions, strict=True):
            sequence = sequences[number]
            described = sequence.in_given_time(prediction)
            answers[number] = answer_tensors(self._manifest, described, self._fleet.outputs[sequence.index])
        return answers

    def _given_up(self, request: Request, error: TaemiError) -> str:
        """Free the slot of a sequence that cannot go on; where the device is lost for good, nobody can."""
        if isinstance(error, DeviceLostError):
            self._lost = f"{error}; the server has to be started again"
            return self._lost
        self._free_slot(request.sequence)
        return f"{error}; the sequence has to start again"


def _by_index(prepared: Collection[int], sequences: Mapping[int, _Sequence]) -> list[int]:
    """The numbers of requests in the order of their slots, which is that of the predictions."""
    return sorted(prepared, key=lambda number: sequences[number].index)


def _threads_for_faces(manifest: Manifest, model: ServedModel) -> ThreadPoolExecutor | None:
    """Threads that find the faces of several sequences at once; None where there is nothing to share."""
    threads = min(model.slots, usable_cores())
    return ThreadPoolExecutor(threads, "prepare") if threads > 1 and has_faces(manifest) else None
