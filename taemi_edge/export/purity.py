"""Checks that a part is a pure function of its input: nothing of an earlier call, of chance, or of other rows is in it.

The runtime puts inputs of several sources into one batch, encodes each input once, and keeps the features. A part that
draws numbers, keeps state, or normalises over the batch gives then something else than the model did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.errors import ContractError

#: Two calls on the same inputs differ by no more than this, as a part of the largest output: by rounding.
ROUNDING = 1e-3
#: By how much more a row may differ where it is alone: a graph that is quantised dynamically takes its scales from the
#: whole batch. A BatchNorm in training mode or an LSTM along the batch is ten times above it.
SCALES = 0.03

#: Runs a part: takes its inputs and gives its outputs, both by name.
Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]


def require_repeatable(part: str, run: Run, feeds: Mapping[str, Array]) -> None:
    """Run a part twice on the same inputs.

    Args:
        part: its name, for messages.
        run: runs it.
        feeds: its inputs, the batch first.

    Raises:
        ContractError: it gives something else the second time.
    """
    if (difference := _difference(run(feeds), run(feeds))) > ROUNDING:
        raise ContractError(
            f"{part}: expected the same outputs for the same inputs, a second call gives others ({difference:.2g} of "
            f"the largest): switch off dropout and noise in eval(), and keep nothing from call to call"
        )


def require_rows_apart(part: str, run: Run, feeds: Mapping[str, Array]) -> None:
    """Run a part on rows of a batch together, and on each alone.

    Args:
        part: its name, for messages.
        run: runs it.
        feeds: its inputs, the batch first; a single row is put beside itself turned round.

    Raises:
        ContractError: it gives something else for a row that is alone.
    """
    rows = _two_rows(feeds)
    both = run(rows)
    for row in range(2):
        alone = run({name: value[row : row + 1] for name, value in rows.items()})
        together = {name: value[row : row + 1] for name, value in both.items()}
        if (difference := _difference(together, alone)) > SCALES:
            raise ContractError(
                f"{part}: expected a row of a batch to give what it gives alone, the outputs differ by "
                f"{difference:.2g} of the largest: make the batch the first axis (batch_first=True), keep every "
                f"BatchNorm in evaluation mode with running statistics, and branch on no value"
            )


def require_padding_hidden(part: str, run: Run, texts: Mapping[str, Array]) -> None:
    """Run an encoder of texts on a text alone, and with padding behind it that the mask hides.

    Texts of several sources are padded to the longest one.

    Args:
        part: its name, for messages.
        run: runs it; it gives one output.
        texts: ids and their mask (batch, tokens).

    Raises:
        ContractError: it gives other features for the same tokens.
    """
    tokens = texts["ids"].shape[1]
    kept = (tokens + 1) // 2
    alone = {name: value[:1, :kept] for name, value in texts.items()}
    padded = {name: np.pad(value, ((0, 0), (0, tokens - kept))) for name, value in alone.items()}
    [want], [got] = run(alone).values(), run(padded).values()
    got = got[:, :kept] if got.ndim == 3 else got
    if (difference := _difference({"features": want}, {"features": got})) > SCALES:
        raise ContractError(
            f"{part}: expected a text to give the same features with padding behind it, which the mask hides, they "
            f"differ by {difference:.2g} of the largest: pass the mask to every attention, let recurrences run forward "
            f"only, and leave masked tokens out of means and maxima"
        )


def _two_rows(feeds: Mapping[str, Array]) -> dict[str, Array]:
    if all(len(value) > 1 for value in feeds.values()):
        return {name: value[:2] for name, value in feeds.items()}
    return {name: np.stack([value[0], np.flip(value[0], axis=0)]) for name, value in feeds.items()}


def _difference(a: Mapping[str, Array], b: Mapping[str, Array]) -> float:
    """The largest difference as a part of the largest value; infinity where shapes differ or one is no number."""
    largest = 0.0
    for name, want in a.items():
        got = b[name]
        if got.shape != want.shape:
            return float("inf")
        scale = float(np.abs(want).max(initial=0)) or 1.0
        difference = float(np.abs(got.astype(np.float64) - want).max(initial=0)) / scale
        largest = max(largest, difference if np.isfinite(difference) else float("inf"))
    return largest
