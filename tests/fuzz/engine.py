"""Runs one parser on one input after another: by atheris where it is installed, else by mutations of the seeds alone.

Atheris (https://github.com/google/atheris) sees which branches an input reaches, keeps inputs that reach new ones, and
mutates those. It has wheels for Linux on x86-64 only.
"""

from __future__ import annotations

import contextlib
import importlib.util
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from tests.fuzz.harness import Harness
from tests.fuzz.mutation.plain import mutate_bytes

HAS_ATHERIS = importlib.util.find_spec("atheris") is not None
#: How often a parser with a mutator of its own gets a change of single bytes all the same.
_PLAIN_SHARE = 0.2
#: What is watched for branches. NumPy, msgspec and FFmpeg are compiled code, in which atheris sees nothing.
_WATCHED = ["taemi_edge", "pickletools", "tests.fuzz.parsers"]


def watched_imports() -> contextlib.AbstractContextManager[Any]:
    """Modules that are imported inside report their branches to atheris."""
    if not HAS_ATHERIS:
        return contextlib.nullcontext()
    import atheris

    watched: contextlib.AbstractContextManager[Any] = atheris.instrument_imports(include=_WATCHED)
    return watched


def run_for_ever(harness: Harness, take: Callable[[bytes], None], kept: Path, seed: int) -> NoReturn:
    """Give inputs to a function until it ends the process.

    Args:
        harness: whose seeds are mutated, and how.
        take: gets each input.
        kept: a folder where atheris keeps inputs that reached new branches, for the next time.
        seed: of the random numbers.
    """
    if HAS_ATHERIS:
        _run_atheris(harness, take, kept, seed)
    _run_blind(harness, take, seed)


def _run_atheris(harness: Harness, take: Callable[[bytes], None], kept: Path, seed: int) -> None:
    import atheris

    def mutate(content: bytes, most_bytes: int, of_call: int) -> bytes:
        chance = random.Random(of_call)
        own = harness.mutate
        if own is None or chance.random() < _PLAIN_SHARE:
            return bytes(atheris.Mutate(content, most_bytes))
        return own(content, chance)[:most_bytes]

    words = [sys.argv[0], "-verbosity=0", "-print_final_stats=0", "-timeout=86400", "-rss_limit_mb=0", "-handle_int=0"]
    words += [f"-seed={seed}", f"-max_len={harness.most_bytes}", f"-artifact_prefix={kept.parent}/", "-len_control=0"]
    words += [str(kept), str(harness.seeds[0].parent)]
    atheris.Setup(words, take, custom_mutator=mutate if harness.mutate else None)
    atheris.Fuzz()


def _run_blind(harness: Harness, take: Callable[[bytes], None], seed: int) -> NoReturn:
    chance = random.Random(seed)
    seeds = [file.read_bytes() for file in harness.seeds]
    while True:
        content = chance.choice(seeds)
        for _ in range(chance.choice((1, 1, 2, 3, 8))):
            plain = harness.mutate is None or chance.random() < _PLAIN_SHARE
            content = mutate_bytes(content, chance) if plain else harness.mutate(content, chance)
        take(content[: harness.most_bytes])
