"""Small networks of the kinds that the INT8 graphs for processors must hold for, and a plan of each from its feeds."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the networks are written in PyTorch")
pytest.importorskip("onnx", reason="graphs are quantised with onnx")

from torch import Tensor, nn

from taemi_edge.calibration.graph_sessions import runner_of_all_tensors
from taemi_edge.calibration.graphs.graph import Graph, groups_of, weight_matrix
from taemi_edge.calibration.graphs.qdq import PartPlan, ScaledTensor, weights_sha256
from taemi_edge.calibration.graphs.ranges import collect_statistics
from taemi_edge.calibration.graphs.smoothing import choose_scaling
from taemi_edge.calibration.host_ranges import convolution_ranges, plan_for_hosts, simplified_chains


class Plain(nn.Module):
    """Convolutions with ReLU, pooling between them, and a Gemm."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 12, 3, padding=1), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(torch.relu(self.a(x)), 2)
        return self.out(torch.relu(self.b(x)).mean((2, 3)))


class Residual(nn.Module):
    """A residual block of grouped and strided convolutions, whose sum two readers take."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.b, self.short = nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.Conv2d(8, 16, 1, stride=2)
        self.last = nn.Conv2d(16, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.relu(x + self.a(torch.relu(x)))
        return self.last(torch.relu(self.b(x) + self.short(x))).flatten(2)


class Mobile(nn.Module):
    """Padding in front, ReLU6, depthwise, squeeze-excite with a hard sigmoid, and hard-swish."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep = nn.Conv2d(3, 8, 3, stride=2), nn.Conv2d(8, 8, 3, groups=8)
        self.squeeze, self.excite = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.project, self.head = nn.Conv2d(8, 6, 1), nn.Conv2d(6, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.relu6(self.stem(nn.functional.pad(x, (0, 1, 0, 1))))
        x = nn.functional.relu6(self.deep(nn.functional.pad(x, (1, 1, 1, 1))))
        scale = nn.functional.hardsigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        return nn.functional.hardswish(self.head(self.project(x * scale))).mean((2, 3))


class Swish(nn.Module):
    """Swish, leaky ReLU, two branches that are joined, and pooling over all."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Conv2d(16, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.silu(self.a(x))
        x = torch.cat([x, nn.functional.leaky_relu(self.b(x), 0.1)], 1)
        return nn.functional.adaptive_avg_pool2d(self.c(x), 1).flatten(1)


class Bytes(nn.Module):
    """A picture of bytes, moved and scaled in front of its first convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        planes = (x.permute(0, 3, 1, 2).float() - 127.0) / 128.0
        return self.b(torch.relu(self.a(planes))).flatten(1)


class Sound(nn.Module):
    """Convolutions over time with GELU, then a transformer block that normalises first."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv1d(1, 8, 8, stride=4), nn.Conv1d(8, 16, 3, padding=1)
        self.block = Transformer(16, before=True)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.gelu(self.b(nn.functional.gelu(self.a(x[:, None]))))
        return self.block(x.transpose(1, 2))


class Transformer(nn.Module):
    """One block of attention and feed-forward, normalised before or after."""

    def __init__(self, width: int = 16, before: bool = False) -> None:
        super().__init__()
        self.before = before
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.n1, self.n2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.n1(x) if self.before else x
        attention = torch.softmax(self.q(h) @ self.k(h).transpose(1, 2) / 4, -1)
        x = x + self.o(attention @ self.v(h))
        x = x if self.before else self.n1(x)
        h = self.n2(x) if self.before else x
        x = x + self.down(nn.functional.gelu(self.up(h)))
        return x if self.before else self.n2(x)


class Recurrent(nn.Module):
    """A GRU between Linears."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.gru, self.out = nn.Linear(16, 8), nn.GRU(8, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.gru(torch.tanh(self.into(x)))[0])


#: Each network with the shape of its input; bytes where the name says so.
NETWORKS = {
    "plain": (Plain, (3, 12, 12)),
    "residual": (Residual, (3, 8, 8)),
    "mobile": (Mobile, (3, 16, 16)),
    "swish": (Swish, (3, 8, 8)),
    "bytes": (Bytes, (8, 8, 3)),
    "sound": (Sound, (160,)),
    "before": (lambda: Transformer(before=True), (7, 16)),
    "after": (Transformer, (7, 16)),
    "recurrent": (Recurrent, (6, 16)),
}


def feeds_of(name: str, count: int = 6, first: int = 0) -> list[dict[str, np.ndarray]]:
    shape, rngs = NETWORKS[name][1], [np.random.default_rng(first + number) for number in range(count)]
    if name == "bytes":
        return [{"x": rng.integers(0, 256, (2, *shape)).astype(np.uint8)} for rng in rngs]
    return [{"x": (rng.normal(size=(2, *shape)) + 0.5).astype(np.float32)} for rng in rngs]


def graph_of(name: str) -> Graph:
    torch.manual_seed(0)
    module = NETWORKS[name][0]().eval()
    return exported(module, torch.from_numpy(feeds_of(name, 1)[0]["x"]))


def exported(module: nn.Module, x: Tensor) -> Graph:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, (x,), file, opset_version=17, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "rows"}}
        )
    return Graph.of_bytes(file.getvalue(), "test")


def plan_of(graph: Graph, feeds: list[dict[str, np.ndarray]], smooth: bool = True) -> PartPlan:
    """A plan as a calibration makes it, by percentiles."""
    simple, chains = simplified_chains(graph)
    groups = dict(groups_of(graph.layers()))
    axes: Mapping[str, int] = {source: group[0].feature_axis for source, group in groups.items()}
    watched = {**axes, **{name: 1 for name in sorted(chains.ranged) if name not in axes}}
    seen = collect_statistics(runner_of_all_tensors(graph), feeds, watched, 64, may_be_constant=set(watched)).watched
    scaled = []
    for source, group in groups.items():
        weights = [weight_matrix(graph, layer) for layer in group if layer.is_linear]
        found = choose_scaling(seen[source], weights, (0.5,) if smooth else (), ("percentile",), 99.99)
        smoothing = () if found.smoothing is None else tuple(found.smoothing.tolist())
        nodes = tuple(layer.node for layer in group)
        scaled.append(
            ScaledTensor(tensor=source, nodes=nodes, amax=found.amax, method="percentile", smoothing=smoothing)
        )
    ranges = convolution_ranges(simple, chains, seen)
    return PartPlan(
        weights_sha256=weights_sha256(graph),
        tensors=tuple(scaled),
        excluded={},
        islands={},
        host=plan_for_hosts(graph, ranges, seen, scaled),
    )
