"""When the lines of a transcript end: each line of a synthetic clip belongs to one of its scenes."""

from __future__ import annotations

import re
from pathlib import Path

_CUE = re.compile(r"-->\s*(\d+):(\d+):([\d.]+)")


def line_ends_s(transcript: Path) -> list[float]:
    """When each line of a WebVTT file ends, in seconds."""
    found = _CUE.findall(transcript.read_text(encoding="utf-8"))
    return [3600.0 * int(hours) + 60.0 * int(minutes) + float(seconds) for hours, minutes, seconds in found]
