"""Words from a recogniser: their times never overlap, and a model that is not there is one sentence."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from taemi_edge.errors import InputError
from taemi_edge.media.recognition import open_recogniser, timed_words


def test_words_never_overlap():
    heard = [(0.0, 0.6, " so"), (0.5, 0.5, " it"), (0.55, 0.9, " is")]
    words = [SimpleNamespace(start=start, end=end, word=word) for start, end, word in heard]
    segments = [SimpleNamespace(words=words, end=0.9)]
    recogniser = SimpleNamespace(transcribe=lambda samples, **_: (segments, None))
    found = timed_words(recogniser, np.zeros(16_000, np.float32))
    assert [word.text for word in found] == ["so", "it", "is"]
    assert all(a.end_s <= b.start_s < b.end_s for a, b in pairwise(found))


def test_a_model_folder_that_is_not_there_is_one_sentence(tmp_path):
    pytest.importorskip("faster_whisper")
    with pytest.raises(InputError, match="expected a CTranslate2 folder, found nothing there"):
        open_recogniser(str(tmp_path / "nowhere"))
