"""Speech in, timed words out, by faster-whisper (the `asr` extra)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from taemi_edge.bundle.spec import Array
from taemi_edge.errors import InputError, MissingExtraError
from taemi_edge.media.transcripts import Word
from taemi_edge.progress import SILENT, Progress

SAMPLE_RATE_HZ = 16_000
#: The name under which the weights that come in registry packages are asked for.
PACKAGED_MODEL = "packaged:whisper-base"


def transcribe(samples: Array, model: str, threads: int = 0, progress: Progress = SILENT) -> list[Word]:
    """Recognise speech.

    Args:
        samples: mono PCM at 16 kHz, float32 (n,) in [-1, 1].
        model: a CTranslate2 folder, a size that faster-whisper knows (fetched from the hub), or `PACKAGED_MODEL`.
        progress: counts the seconds of sound that were recognised.

    Raises:
        MissingExtraError: faster-whisper is not installed.
        InputError: the model cannot be had.
    """
    progress.count(0.0, len(samples) / SAMPLE_RATE_HZ, "recognising speech")
    recogniser = open_recogniser(model, threads)
    return timed_words(recogniser, samples, beam_size=5, progress=progress) if np.any(samples) else []


def open_recogniser(model: str, threads: int = 0, compute_type: str = "float32") -> Any:
    """faster-whisper's model; int8 is a fifth faster on a CPU and mishears a little more.

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
        options: what `transcribe` of faster-whisper takes besides.
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
        from taemi_edge.taemi.packaged_weights import whisper_base_folder

        model = str(whisper_base_folder())
    elif ("/" in model or model.startswith(".")) and not Path(model).is_dir():
        raise InputError(f"--asr-model {model}: expected a CTranslate2 folder, found nothing there")
    try:
        return whisper_model(model, device="cpu", compute_type=compute_type, cpu_threads=threads)
    except Exception as error:  # faster-whisper passes on whatever the hub, CTranslate2 or a file raised
        raise InputError(
            f"--asr-model {model}: faster-whisper cannot load it ({str(error).splitlines()[0]}): give the folder of a "
            f"CTranslate2 model, or fetch it once where the hub is in reach"
        ) from error
