"""The mean of a stream's features over all samples of a model, which may stand for the stream where it is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from taemi_edge.bundle.streams import StreamSpec, TextSpec
from taemi_edge.bundle.values import Array, TensorSpec
from taemi_edge.export.parts import Part, Tensors
from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.parity.samples import calls_of, encoder_rows
from taemi_edge.parity.windows import joined_steps


def mean_feature(
    name: str,
    spec: StreamSpec,
    part: Part,
    inputs: Tensors,
    samples: Sequence[Mapping[str, Any]],
    tokenizer: str | None = None,
) -> Array:
    """Encode a stream of every sample and give the mean of its steps, float32 (D,); those of a context do not count.

    Args:
        name: of the stream.
        spec: of the stream.
        part: its encoder, which has run on some of the samples before.
        inputs: of the encoder, in its own order.
        samples: of which one at least has the stream.
        tokenizer: the content of the stream's tokenizer, for text.
    """
    words = WordTokenizer(tokenizer, spec.max_tokens) if isinstance(spec, TextSpec) and tokenizer else None
    wanted = (TensorSpec(name="features", dtype="float32", shape=("batch",)),)
    total, count = np.zeros(1), 0
    for index, sample in enumerate(samples):
        for feeds in calls_of(encoder_rows(name, spec, sample, words, f"sample {index}")):
            given = part.run({tensor.name: feeds[tensor.name] for tensor in inputs}, wanted)["features"]
            steps = joined_steps(spec, feeds, given)
            total, count = total + steps.sum(0, dtype=np.float64), count + len(steps)
    mean: Array = (total / count).astype(np.float32)
    return mean
