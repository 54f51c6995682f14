"""What TAEMI says of itself for the model cards of its bundles: its use, its misuse, its limits and its licence."""

from __future__ import annotations

import dataclasses

import msgspec

from taemi_edge.bundle.card_record import ModelCard, ReportedEvaluation
from taemi_edge.bundle.values import HEAD
from taemi_edge.taemi.checkpoint import END_TO_END_FROM, RANDOM, CheckpointState
from taemi_edge.taemi.packaged_weights import head_file

_SUMMARY = (
    "TAEMI estimates how strongly a person in a short video mimics six emotions, from the face, the speech and the "
    "words that are spoken (Text-Anchored Emotional Mimicry Intensity estimation, arXiv 2603.14976). It goes on "
    "without any of the three. The encoders, the sizes and the loss are not published; those of this model are the "
    "toolkit's own."
)
_INTENDED_USE = (
    "Research on multimodal models whose streams may drop out, and trying the way from PyTorch to a device. The six "
    "numbers describe what people who watched such clips have rated, not what the person in them feels."
)
_MISUSE = (
    "Do not use it to decide anything about a person, or without the knowledge of those whom it sees and hears.\n\n"
    "In the European Union a system that infers emotions of persons from their biometric data, as a face and a voice "
    "are, is regulated by the AI Act, Regulation (EU) 2024/1689. Article 5(1)(f) prohibits inferring emotions of "
    "persons at the workplace and in education institutions, except for medical or safety reasons. Annex III, point "
    "1(c), lists systems intended for emotion recognition among the high-risk ones. Article 50(3) obliges those who "
    "deploy such a system to inform the persons who are exposed to it. Faces and voices are personal data as well "
    "(GDPR). Other countries have laws of their own. This is a pointer and no legal advice."
)
_LIMITS = (
    "It looks at one face, and expects speech and a transcript in English. How it does for people of different age, "
    "gender, skin, culture, disability or language was not measured. Expressions and feelings are not the same thing."
)
_LICENCE = (
    "The code, the fusion head and what stands for missing streams: Apache-2.0. The weights of the encoders keep the "
    "licences of their publishers, who are named under Training: read those before you pass the bundle on."
)


@dataclasses.dataclass(frozen=True)
class _Reported:
    """A report of an evaluation that ships beside a head, for the head of this name and hash alone."""

    head: str
    evaluation: ReportedEvaluation


def card_of(state: CheckpointState) -> ModelCard:
    """The card of a TAEMI checkpoint, with the figures that were measured of the head that ships with the package."""
    random = {source.removeprefix(END_TO_END_FROM) for source in state.weights.values()} <= {RANDOM}
    reported = _reported_of(state.weights.get(HEAD, ""))
    return ModelCard(
        summary=_SUMMARY,
        licence="Apache-2.0" if random else _LICENCE,
        intended_use=_INTENDED_USE,
        misuse=_MISUSE,
        limits=_LIMITS,
        evaluations=(reported,) if reported is not None else (),
    )


def _reported_of(name: str) -> ReportedEvaluation | None:
    """The evaluation that was recorded with a packaged head; None where there is none, or the head is another one."""
    weights, _, _ = name.partition(" ")
    if not weights.startswith("package:"):
        return None
    file = head_file(weights).with_suffix(".evaluation.json")
    if not file.is_file():
        return None
    found = msgspec.json.decode(file.read_bytes(), type=_Reported)
    return found.evaluation if found.head == name else None
