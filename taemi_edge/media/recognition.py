"""Recognises speech with faster-whisper, and gives the words with their times.

faster-whisper comes with the `asr` extra; without it every function here raises `MissingExtraError`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.errors import InputError, MissingExtraError, first_line
from taemi_edge.media.packaged_models import whisper_base_folder
from taemi_edge.media.transcripts import Word
from taemi_edge.progress import SILENT, Progress

SAMPLE_RATE_HZ = 16_000
#: The model name that stands for the weights that come in registry packages.
PACKAGED_MODEL = "packaged:whisper-base"


def transcribe(samples: Array, model: str, threads: int = 0, progress: Progress = SILENT) -> list[Word]:
    """Recognise the words of a clip.

    Args:
        samples: mono PCM at 16 kHz, float32 (n,) in [-1, 1].
        model: a CTranslate2 folder, a size that faster-whisper knows (fetched from the hub), or `PACKAGED_MODEL`.
        threads: 0 for as many as there are cores.
        progress: counts the seconds of sound that were recognised.

    Raises:
        MissingExtraError: faster-whisper is not installed.
        InputError: the model cannot be found or loaded.
    """
    progress.count(0.0, len(samples) / SAMPLE_RATE_HZ, "recognising speech")
    recogniser = open_recogniser(model, threads)
    return timed_words(recogniser, samples, beam_size=5, progress=progress) if np.any(samples) else []


def open_recogniser(model: str, threads: int = 0, compute_type: str = "float32") -> Any:
    """Load faster-whisper's model.

    Args:
        model: see `transcribe`.
        threads: 0 for as many as there are cores.
        compute_type: CTranslate2's; "int8" is a fifth faster on a CPU than "float32" and mishears a little more.

    Raises:
        MissingExtraError, InputError: see `transcribe`.
    """
    try:
        from faster_whisper import WhisperModel
    except ModuleNotFoundError as error:
        raise MissingExtraError("faster-whisper", "asr", "--asr") from error
    return _open_model(WhisperModel, model, threads, compute_type)


def timed_words(
    recogniser: Any,
    samples: Array,
    *,
    progress: Progress = SILENT,
    **options: Any,
) -> list[Word]:
    """The words of a piece of sound, in seconds from its beginning; none of them overlap.

    Args:
        recogniser: what `open_recogniser` gave.
        samples: mono PCM at 16 kHz, float32 (n,) in [-1, 1].
        progress: counts the seconds of sound that were recognised.
        options: further arguments of faster-whisper's `transcribe`.
    """
    segments, _ = recogniser.transcribe(samples, word_timestamps=True, condition_on_previous_text=False, **options)
    words: list[Word] = []
    for segment in segments:
        for word in segment.words or ():
            start_s = max(float(word.start), words[-1].end_s if words else 0.0)
            words.append(Word(start_s, max(float(word.end), start_s + 0.01), word.word.strip()))
        progress.count(float(segment.end), len(samples) / SAMPLE_RATE_HZ, "recognising speech")
    return words


def _open_model(whisper_model: Any, model: str, threads: int, compute_type: str) -> Any:
    if model == PACKAGED_MODEL:
        model = str(whisper_base_folder())
    elif ("/" in model or model.startswith(".")) and not Path(model).is_dir():
        raise InputError(f"--asr-model {model}: expected a CTranslate2 folder, found nothing there")
    try:
        return whisper_model(model, device="cpu", compute_type=compute_type, cpu_threads=threads)
    except Exception as error:  # faster-whisper passes on whatever the hub, CTranslate2 or a file raised
        raise InputError(
            f"--asr-model {model}: faster-whisper cannot load it ({first_line(error)}): give the folder of a "
            f"CTranslate2 model, or fetch it once where the hub is in reach"
        ) from error
