"""What the encoders take of a clip that was read, and the features that they give for it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from taemi_edge.bundle.streams import AudioSpec, StreamSpec, TextSpec, VideoSpec
from taemi_edge.bundle.values import Array
from taemi_edge.corpora.clip_reading import ClipInputs
from taemi_edge.corpora.stage_clock import StageClock, encoding
from taemi_edge.media.chunks import MAX_BATCH
from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.parity.artefact import Artefact
from taemi_edge.parity.samples import WORDS, Row, calls_of, encoder_rows
from taemi_edge.parity.windows import encode_calls

#: How many numbers a call of an encoder takes on a processor, if a row has no more; see `rows_a_call`.
_NUMBERS_A_CALL = 320_000


def clip_rows(
    inputs: ClipInputs, streams: Mapping[str, StreamSpec], tokenizers: Mapping[str, WordTokenizer]
) -> dict[str, list[Row]]:
    """The rows of each stream of a clip that `read_clip` read; none where the clip has nothing of it."""
    rows: dict[str, list[Row]] = {name: [] for name in streams}
    pictures = [crop.pixels for crop in inputs.crops if crop.pixels is not None]
    for name, spec in streams.items():
        if isinstance(spec, VideoSpec) and pictures:
            rows[name] = encoder_rows(name, spec, {f"{name}/pixels": np.stack(pictures)}, None)
        elif isinstance(spec, AudioSpec):
            rows[name] = [{"samples": segment.samples} for segment in inputs.segments]
        elif isinstance(spec, TextSpec) and inputs.words:
            words = " ".join(word.text for word in inputs.words)
            rows[name] = encoder_rows(name, spec, {f"{name}/{WORDS}": words}, tokenizers[name])
    return rows


def encode_rows(artefact: Artefact, rows: Mapping[str, list[Row]], clock: StageClock | None = None) -> dict[str, Array]:
    """Run the encoders of a model on the rows of one clip.

    Args:
        artefact: the model whose encoders are used.
        rows: of each stream, in the order of time.
        clock: counts what each encoder spends.

    Returns:
        The features of each stream, float32 (T, D); T is 0 where the clip has nothing of it.
    """
    clock = clock or StageClock()
    features: dict[str, Array] = {}
    for name, found in rows.items():
        spec = artefact.streams[name]
        with clock.stage(encoding(name)):
            features[name] = (
                encode_calls(artefact.run, name, spec, calls_of(found, _rows_a_call(artefact, name, found[0])))
                if found
                else np.zeros((0, spec.feature_dim), np.float32)
            )
    return features


def _rows_a_call(artefact: Artefact, stream: str, row: Row) -> int:
    if artefact.mixes_rows(stream):
        return 1
    return rows_a_call(row) if artefact.device == "cpu" else MAX_BATCH


def rows_a_call(row: Row) -> int:
    """How many rows like this one share a call of an encoder on a processor; it follows from their shape alone.

    What a network for pictures computes between its layers is far larger than its input. On a processor a large batch
    of it leaves the caches: EfficientNet-lite0 takes a tenth longer for 16 pictures of 224 x 224 than for 8 times 2.
    Short rows, such as chunks of sound, gain by sharing a call.

    Example:
        >>> rows_a_call({"pixels": np.zeros((224, 224, 3), np.uint8)})
        2
        >>> rows_a_call({"samples": np.zeros(16_000, np.float32)})
        16
    """
    numbers = max(1, sum(value.size for value in row.values()))
    return max(1, min(MAX_BATCH, _NUMBERS_A_CALL // numbers))
