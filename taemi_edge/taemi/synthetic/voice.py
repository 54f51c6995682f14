"""Speaking a text with espeak-ng: a synthetic voice with the start of every word.

espeak-ng is called through its C interface (espeak-ng/speak_lib.h); the package espeakng-loader carries its library.
"""

from __future__ import annotations

import _ctypes
import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.errors import BackendError, MissingExtraError


@dataclass(frozen=True)
class SpokenWord:
    """A word as espeak-ng placed it: where it stands in the text, and when it starts, in seconds."""

    start_s: float
    text: str


@dataclass(frozen=True, eq=False)
class Speech:
    """Synthetic speech: mono PCM, float32 (n,) in [-1, 1], and the start of each word."""

    samples: Array
    sample_rate_hz: int
    words: tuple[SpokenWord, ...]


def speak(
    text: str, *, voice: str = "en-us", pitch: int = 50, words_per_minute: int = 165, loudness: int = 100
) -> Speech:
    """Speak a text with espeak-ng. The `synth` extra carries its library and voices.

    Args:
        text: what is said, in the language of the voice.
        voice: the name of an espeak-ng voice, with a variant after a plus sign, such as "en-us+f4".
        words_per_minute: how fast.
        pitch: 0 to 100, 50 is the voice's own.
        loudness: 0 to 200, 100 is the voice's own.

    Raises:
        MissingExtraError: espeakng-loader is not installed.
        BackendError: espeak-ng refuses the voice.
    """
    library, rate_hz = _espeak()
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise BackendError(f"espeak-ng does not know the voice {voice!r}")
    for parameter, value in ((_RATE, words_per_minute), (_VOLUME, loudness), (_PITCH, pitch)):
        library.espeak_SetParameter(parameter, value, 0)
    pieces: list[Array] = []
    starts: list[tuple[int, int]] = []
    callback = _collector(pieces, starts)
    library.espeak_SetSynthCallback(callback)
    content = text.encode()
    library.espeak_Synth(content, len(content) + 1, 0, 1, 0, _UTF8, None, None)
    library.espeak_Synchronize()
    samples = np.concatenate(pieces).astype(np.float32) / 32768 if pieces else np.zeros(0, np.float32)
    words = tuple(SpokenWord(at_ms / 1e3, text[place - 1 :].split()[0]) for at_ms, place in starts)
    return Speech(samples, rate_hz, words)


def _collector(pieces: list[Array], starts: list[tuple[int, int]]) -> Any:
    """The callback that espeak-ng gives its samples to; it appends them, and the time and place of each word."""

    def collect(samples: Any, count: int, events: Any) -> int:
        if count > 0 and samples:
            pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type != 0:
            if events[index].type == _EVENT_WORD:
                starts.append((events[index].audio_position, events[index].text_position))
            index += 1
        return 0

    return _CALLBACK(collect)


_RATE, _VOLUME, _PITCH, _EVENT_WORD, _UTF8 = 1, 2, 3, 1, 1


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    """espeak_EVENT of espeak-ng's speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def restart_voice() -> None:
    """Unload espeak-ng, so that the next utterance does not depend on earlier ones.

    The phase of its waves carries over from one utterance to the next. It lies in static variables that
    espeak_Terminate leaves as they are (espeak-ng 1.52), so the library itself is unloaded.
    """
    if not _espeak.cache_info().currsize:
        return
    library, _ = _espeak()
    library.espeak_Terminate()
    _espeak.cache_clear()
    _ctypes.dlclose(library._handle)


@cache
def _espeak() -> tuple[Any, int]:
    """The library, initialised once a process, and its sample rate."""
    try:
        import espeakng_loader
    except ModuleNotFoundError as error:
        raise MissingExtraError("espeakng-loader", "synth", "synthetic speech") from error
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    library.espeak_SetSynthCallback.argtypes = [_CALLBACK]
    library.espeak_SetSynthCallback.restype = None
    rate_hz = library.espeak_Initialize(2, 0, str(espeakng_loader.get_data_path()).encode(), 0)  # 2: synchronous
    if rate_hz <= 0:
        raise BackendError("espeak-ng cannot start: its data folder was not found")
    return library, int(rate_hz)
