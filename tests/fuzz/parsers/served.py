"""Words that clients send to a model that Triton serves."""

from __future__ import annotations

import numpy as np

from taemi_edge.bundle.streams import PresenceSpec, TextSpec
from taemi_edge.scale.triton.requests import read_stream
from tests.fuzz.harness import Harness
from tests.fuzz.mutation.trees import mutate_json_lines

_SAID = TextSpec(
    feature_dim=4, max_tokens=8, presence=PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.0)
)
_END_S = 5.0


def _words(content: bytes) -> None:
    given = read_stream("said", _SAID, {"said": np.frombuffer(content, np.uint8)}, _END_S)
    if given is not None:
        words, _ = given
        assert words
        assert all(word.start_s <= word.end_s <= _END_S + 1e-6 and word.text.encode("utf-8") for word in words)


HARNESSES = (Harness("triton-words", _words, mutate_json_lines),)
