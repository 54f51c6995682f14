"""Events of training runs, which TensorBoard shows (the extra `tensorboard`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

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
