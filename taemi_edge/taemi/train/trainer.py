"""The training loop: losses, learning rate, modality dropout, and states from which a stopped run resumes.

Batch order, dropout and modality dropout are drawn anew for each step from the seed and the number of the step. So a
run that stopped after any step continues exactly as if it had not stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from taemi_edge.bundle.atomic import new_file
from taemi_edge.errors import TrainingError, UsageError
from taemi_edge.parity.metrics import mean_pearson
from taemi_edge.taemi.names import MODALITIES
from taemi_edge.taemi.network import Align, FusionHead
from taemi_edge.taemi.recipe import TrainingRecipe
from taemi_edge.taemi.train.feature_examples import Batch, Examples

#: A state is written at least this often, so that a kill costs no more.
SAVE_EVERY_S = 60.0
_EVALUATION_BATCH = 64


class EpochMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """The metrics of one epoch, which are one line of metrics.jsonl."""

    epoch: int
    step: int
    loss: float
    valid_mean_pearson: float | None
    learning_rate: float
    #: Mean absolute gradient of each token over the epoch; 0 where no clip lacked that modality.
    token_gradient: dict[str, float]
    seconds: float


class _Counters(msgspec.Struct, kw_only=True):
    """The part of a state that is not tensors."""

    identity: str
    step: int = 0
    loss_sum: float = 0.0
    token_gradient: dict[str, float] = msgspec.field(default_factory=lambda: dict.fromkeys(MODALITIES, 0.0))
    token_gradient_total: dict[str, float] = msgspec.field(default_factory=lambda: dict.fromkeys(MODALITIES, 0.0))
    best_epoch: int = 0
    best_score: float | None = None
    history: list[EpochMetrics] = msgspec.field(default_factory=list)


@dataclass(frozen=True)
class Schedule:
    """One cycle of the learning rate (Smith 2018, arXiv 1803.09820): up as a cosine, down as a cosine to near 0."""

    peak: float
    steps: int
    warmup: float

    def at(self, step: int) -> float:
        """The rate of a step, 0-based.

        Example:
            >>> Schedule(peak=1.0, steps=10, warmup=0.3).at(3)
            1.0
        """
        rise = max(1, round(self.warmup * self.steps))
        if step < rise:
            return self.peak * (0.04 + 0.96 * (1 - math.cos(math.pi * step / rise)) / 2)
        fall = max(1, self.steps - rise)
        return self.peak * max(1e-4, (1 + math.cos(math.pi * (step - rise) / fall)) / 2)


@dataclass(eq=False)
class Trainer:
    """A training run, step by step.

    Args:
        head: is trained in place: a `FusionHead`, or a whole `TaemiModel` for end-to-end training.
        examples: the training clips.
        valid: the clips that choose the best epoch; None where there are none.
        recipe: how the head is trained.
        modality_dropout: the probability that a stream of a training clip is taken away.
        seed: of batch order, dropout and modality dropout; the weights were drawn by the head itself.
        identity: recipe, data and seed in words, by which the state of another run is refused.
    """

    head: FusionHead
    examples: Examples
    valid: Examples | None
    recipe: TrainingRecipe
    modality_dropout: float
    seed: int = 0
    identity: str = ""
    _counters: _Counters = field(init=False)
    _best: dict[str, Tensor] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._counters = _Counters(identity=self.identity)
        self._trained = {n: p for n, p in self.head.named_parameters() if p.requires_grad}
        self._optimiser = torch.optim.AdamW(
            self._trained.values(), lr=self.recipe.learning_rate, weight_decay=self.recipe.weight_decay
        )
        self._count = len(self.examples.labels)
        self._steps_an_epoch = math.ceil(self._count / self.recipe.batch_size)
        self._schedule = Schedule(self.recipe.learning_rate, self.steps, self.recipe.warmup)

    @property
    def steps(self) -> int:
        """How many steps the whole run has."""
        return self.recipe.epochs * self._steps_an_epoch

    @property
    def step(self) -> int:
        """How many steps are done."""
        return self._counters.step

    @property
    def history(self) -> list[EpochMetrics]:
        """The metrics of every finished epoch."""
        return self._counters.history

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights are kept, from 1; 0 before the first."""
        return self._counters.best_epoch

    @property
    def untrained_tokens(self) -> tuple[str, ...]:
        """Learnable tokens of streams that the head reads which never received a gradient."""
        learnable = [m for m in self.head.fusion.reads if self.head.tokens.of(m).requires_grad]
        return tuple(m for m in learnable if self._counters.token_gradient_total[m] == 0)

    def run(
        self,
        on_step: Callable[[Trainer], bool] = lambda _: True,
        on_epoch: Callable[[EpochMetrics], None] = lambda _: None,
    ) -> bool:
        """Train to the end, or until `on_step` returns False.

        Returns:
            Whether the end was reached.

        Raises:
            TrainingError: the loss is not a finite number; the head then has the best weights so far.
        """
        with torch.random.fork_rng(devices=[]):
            started = time.perf_counter()
            while self.step < self.steps:
                self._take_step()
                if self.step % self._steps_an_epoch == 0:
                    on_epoch(self._end_epoch(time.perf_counter() - started))
                    started = time.perf_counter()
                if not on_step(self):
                    return self.step >= self.steps
        return True

    def keep_best(self) -> None:
        """Load the weights of the best epoch, or of the last where the recipe says so, into the head."""
        if self._best:
            self.head.load_state_dict(self._best, strict=False)
        self.head.eval()

    def save(self, file: Path) -> None:
        """Write the whole state to one file, atomically."""
        tensors = {f"model.{k}": v for k, v in self._own_state().items()}
        tensors |= {f"best.{k}": v for k, v in self._best.items()}
        for name, parameter in self._trained.items():
            tensors |= {f"optimiser.{k}.{name}": v for k, v in self._optimiser.state[parameter].items()}
        with new_file(file) as draft:
            content = {k: v.detach().clone().contiguous() for k, v in tensors.items()}
            save_file(content, draft, metadata={"counters": msgspec.json.encode(self._counters).decode()})

    def load(self, file: Path) -> None:
        """Continue from a state.

        Raises:
            UsageError: there is no state, or it belongs to another recipe, other data or another seed.
        """
        try:
            with safe_open(file, framework="pt") as stored:
                counters = msgspec.json.decode(stored.metadata()["counters"], type=_Counters)
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, KeyError, TypeError, msgspec.MsgspecError) as error:
            raise UsageError(f"--resume: expected the state of a stopped run in {file}: {error}") from error
        if counters.identity != self.identity:
            raise UsageError(
                f"--resume: {file} belongs to another run ({counters.identity}; this one is {self.identity}): "
                f"leave --resume away, or give the recipe, data and seed of that run"
            )
        own, best = _under(tensors, "model."), _under(tensors, "best.")
        self.head.load_state_dict(own, strict=False)
        self._best, self._counters = best, counters
        for name, parameter in self._trained.items():
            state = {
                k: tensors[f"optimiser.{k}.{name}"]
                for k in ("step", "exp_avg", "exp_avg_sq")
                if f"optimiser.{k}.{name}" in tensors
            }
            if state:
                self._optimiser.state[parameter] = state

    def _take_step(self) -> None:
        step = self._counters.step
        batch = self.examples.batch(self.head.train(), self._chosen(step))
        torch.manual_seed(_mix(self.seed, step, 1))
        present = drop_modalities(
            {m: p if m in self.recipe.modalities else torch.zeros_like(p) for m, p in batch.present.items()},
            self.modality_dropout,
            torch.Generator().manual_seed(_mix(self.seed, step, 2)),
        )
        loss = training_loss(self.head.fuse(batch.features, batch.masks, present), batch.labels, self.recipe)
        if not torch.isfinite(loss):
            self.keep_best()
            kept = f"the weights of epoch {self.best_epoch} are kept" if self.best_epoch else "no epoch was finished"
            raise TrainingError(
                f"step {step + 1}: expected a loss that is a number, got {loss.item()}: lower learning_rate or look "
                f"for broken features; {kept}"
            )
        for group in self._optimiser.param_groups:
            group["lr"] = self._schedule.at(step)
        self._optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        for m in MODALITIES:
            if (gradient := self.head.tokens.of(m).grad) is not None:
                self._counters.token_gradient[m] += float(gradient.abs().mean())
        torch.nn.utils.clip_grad_norm_(self._trained.values(), self.recipe.clip_norm)
        self._optimiser.step()
        self._counters.loss_sum += float(loss.detach())
        self._counters.step += 1

    def _chosen(self, step: int) -> Tensor:
        """The clips of a step. Each epoch has its own order, which is cut into batches."""
        epoch, place = divmod(step, self._steps_an_epoch)
        order = torch.randperm(self._count, generator=torch.Generator().manual_seed(_mix(self.seed, epoch, 3)))
        return order[place * self.recipe.batch_size : (place + 1) * self.recipe.batch_size]

    def _end_epoch(self, seconds: float) -> EpochMetrics:
        counters = self._counters
        found = None
        if self.valid is not None:
            found = mean_pearson(predict(self.head, self.valid, self.recipe).numpy(), self.valid.labels.numpy())
        metrics = EpochMetrics(
            epoch=counters.step // self._steps_an_epoch,
            step=counters.step,
            loss=counters.loss_sum / self._steps_an_epoch,
            valid_mean_pearson=found,
            learning_rate=self._schedule.at(counters.step - 1),
            token_gradient={m: total / self._steps_an_epoch for m, total in counters.token_gradient.items()},
            seconds=seconds,
        )
        counters.history.append(metrics)
        for m in MODALITIES:
            counters.token_gradient_total[m] += counters.token_gradient[m]
        counters.loss_sum, counters.token_gradient = 0.0, dict.fromkeys(MODALITIES, 0.0)
        better = found is not None and (counters.best_score is None or found > counters.best_score)
        if self.recipe.keep == "last" or self.valid is None or better:
            counters.best_epoch, counters.best_score = metrics.epoch, found
            self._best = {k: v.detach().clone() for k, v in self._own_state().items()}
        return metrics

    def _own_state(self) -> dict[str, Tensor]:
        """The weights that training changes: the head, or the whole model in end-to-end training."""
        if self.recipe.encoders == "end-to-end":
            return dict(self.head.state_dict())
        return self.head.head_state()


def drop_modalities(present: dict[str, Tensor], rate: float, generator: torch.Generator) -> dict[str, Tensor]:
    """Modality dropout: take each present modality of a clip away with probability `rate`, but never its last one.

    Args:
        present: bool (B,) for each modality.
        rate: the probability.
        generator: of the random numbers.

    Example:
        >>> present = {"audio": torch.tensor([True]), "text": torch.tensor([False])}
        >>> drop_modalities(present, 1.0, torch.Generator())
        {'audio': tensor([True]), 'text': tensor([False])}
    """
    names = list(present)
    have = torch.stack([present[m] for m in names])  # (modalities, B)
    kept = have & (torch.rand(have.shape, generator=generator) >= rate)
    spared = torch.rand(have.shape, generator=generator).masked_fill(~have, -1.0).argmax(0)
    bare = ~kept.any(0) & have.any(0)
    kept[spared[bare], torch.nonzero(bare).flatten()] = True
    return {m: kept[i] for i, m in enumerate(names)}


def training_loss(predicted: Tensor, labels: Tensor, recipe: TrainingRecipe) -> Tensor:
    """The loss of a batch as the recipe chooses it, a scalar tensor.

    Correlations are computed over the batch; that of a constant column counts as 0. The concordance is that of Lin
    (1989), "A concordance correlation coefficient to evaluate reproducibility".

    Args:
        predicted: intensities, (B, 6).
        labels: true intensities, (B, 6).
        recipe: names the loss and the weight of its squared error.
    """
    mse = (predicted - labels).square().mean()
    if recipe.loss == "mse":
        return mse
    a, b = predicted - predicted.mean(0), labels - labels.mean(0)
    if recipe.loss == "mse+pearson":
        norms = a.square().sum(0).add(1e-6).sqrt() * b.square().sum(0).add(1e-6).sqrt()
        return recipe.mse_weight * mse + 1 - ((a * b).sum(0) / norms).mean()
    spread = a.square().mean(0) + b.square().mean(0) + (predicted.mean(0) - labels.mean(0)).square()
    ccc = 1 - (2 * (a * b).mean(0) / (spread + 1e-6)).mean()  # Lin 1989
    return recipe.mse_weight * mse + ccc if recipe.loss == "mse+ccc" else ccc


@torch.no_grad()
def predict(head: FusionHead, examples: Examples, recipe: TrainingRecipe | None = None) -> Tensor:
    """Predict the intensities of all clips, (N, 6), with the head in evaluation mode.

    Args:
        head: the model, or its head.
        examples: the clips.
        recipe: names the streams that the head may see; all by default.
    """
    head.eval()
    seen = recipe.modalities if recipe else MODALITIES
    outputs = []
    for chosen in _batches(len(examples.labels)):
        batch = examples.batch(head, chosen)
        present = {m: p if m in seen else torch.zeros_like(p) for m, p in batch.present.items()}
        outputs.append(head.fuse(batch.features, batch.masks, present))
    return torch.cat(outputs)


@torch.no_grad()
def set_statistics(head: FusionHead, examples: Examples) -> None:
    """Set the statistics that standardise features to those of the training clips.

    Learnable tokens start as the mean feature of their modality.

    A channel that hardly varies is scaled by 1 rather than by a tiny number.
    """
    head.eval()
    sums = {m: torch.zeros(3, head.feature_dims[m], dtype=torch.float64) for m in MODALITIES}  # n, sum, squares
    for chosen in _batches(len(examples.labels)):
        batch: Batch = examples.batch(head, chosen)
        for m in MODALITIES:
            steps = batch.features[m][batch.masks[m] > 0].double()
            sums[m] += torch.stack([torch.full_like(sums[m][0], len(steps)), steps.sum(0), steps.square().sum(0)])
    for m in MODALITIES:
        count, total, squares = sums[m]
        mean = total / count.clamp(min=1)
        std = (squares / count.clamp(min=1) - mean.square()).clamp(min=0).sqrt()
        align = cast("Align", head.fusion.align[m])
        align.feature_mean.copy_(mean)
        align.feature_std.copy_(torch.where(std > 1e-4, std, torch.ones_like(std)))
        token = head.tokens.of(m)
        if token.requires_grad:
            token.add_(mean.float())  # it was drawn around 0


def _batches(count: int) -> list[Tensor]:
    """The numbers 0 to count - 1 in order, in pieces for evaluation."""
    return [torch.arange(at, min(at + _EVALUATION_BATCH, count)) for at in range(0, count, _EVALUATION_BATCH)]


def _mix(seed: int, number: int, purpose: int) -> int:
    """A seed of its own for each step and purpose."""
    return (seed * 1_000_003 + number) * 7 + purpose


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
