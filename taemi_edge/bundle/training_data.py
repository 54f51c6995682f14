"""Whether a model was trained on synthetic data, by what is said of its training, and the mark that says so.

A model that was trained on drawn faces or simulated sensors may be right about those and wrong about the world. So
whatever shows its predictions carries the mark: lines of JSON, pictures, annotated video, the live page.
"""

from __future__ import annotations

import re

#: The mark, in words that fit a small line of a picture.
SYNTHETIC_MARK = "trained on synthetic data"
#: What a line of JSON repeats of `trained_on`: a publisher may have written a book into it.
_MOST_SAID = 200
#: A radar of synthetic aperture looks at the world.
_SAYS_SYNTHETIC = re.compile(
    r"(?<!non-)(?<!non )(?<!not )(?<!no )(?<!without )\bsynthetic(?![- ]aperture)", re.IGNORECASE
)


def is_synthetic(trained_on: str) -> bool:
    """Whether these words say that the data, or a part of them, were synthetic.

    >>> is_synthetic("the synthetic corpus of seed 0 (630 clips)"), is_synthetic("recordings, not synthetic ones")
    (True, False)
    """
    return _SAYS_SYNTHETIC.search(trained_on) is not None


def training_mark(trained_on: str) -> str:
    """The small line of a picture that shows what a model gives; "" for a model that needs none.

    >>> training_mark("the synthetic corpus of seed 0"), training_mark("60 pumps")
    ('trained on synthetic data: the synthetic corpus of seed 0', '')
    """
    return f"{SYNTHETIC_MARK}: {said_shortly(trained_on)}" if is_synthetic(trained_on) else ""


def said_shortly(trained_on: str) -> str:
    """What a line of JSON says of the training data: no more than 200 characters.

    >>> said_shortly("x" * 300) == "x" * 199 + "…"
    True
    """
    return trained_on if len(trained_on) <= _MOST_SAID else f"{trained_on[: _MOST_SAID - 1]}…"
