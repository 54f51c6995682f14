"""Events of training runs, which TensorBoard shows (the extra `tensorboard`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from taemi_edge.errors import MissingExtraError
from taemi_edge.taemi.train.trainer import EpochMetrics


@contextmanager
def event_writer(folder: Path | None) -> Iterator[Callable[[EpochMetrics], None]]:
    """A function that writes an epoch's metrics for TensorBoard, or one that does nothing."""
    if folder is None:
        yield lambda _: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        raise MissingExtraError("tensorboard", "tensorboard", "--tensorboard") from error

    def write(metrics: EpochMetrics) -> None:
        writer.add_scalar("loss", metrics.loss, metrics.step)
        writer.add_scalar("learning_rate", metrics.learning_rate, metrics.step)
        if metrics.valid_mean_pearson is not None:
            writer.add_scalar("valid/mean_pearson", metrics.valid_mean_pearson, metrics.step)
        for modality, gradient in metrics.token_gradient.items():
            writer.add_scalar(f"token_gradient/{modality}", gradient, metrics.step)
        writer.flush()

    writer = SummaryWriter(str(folder))
    try:
        yield write
    finally:
        writer.close()


def write_hyperparameters(folder: Path, values: Mapping[str, bool | float | str], found: Mapping[str, float]) -> None:
    """Write what a run was set to and what it found, for TensorBoard's table of hyperparameters.

    Args:
        folder: where the run's events are.
        values: what it was set to.
        found: its figures.
    """
    from torch.utils.tensorboard import SummaryWriter
    from torch.utils.tensorboard import summary as summaries

    hparams: Any = summaries.hparams
    with SummaryWriter(str(folder)) as writer:  # its own `add_hparams` would open a second file
        for summary in hparams(dict(values), dict(found)):
            writer.file_writer.add_summary(summary)
        for name, value in found.items():
            writer.add_scalar(name, value)
