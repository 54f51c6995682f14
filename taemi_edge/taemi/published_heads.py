"""Heads in the manner of other published entries on the same data: the rows beside TAEMI in the paper's Table 2.

None is the authors' code. Each keeps what a paper says of its fusion, on this project's encoders and alignment, and is
trained as TAEMI is. What the papers leave open, and what differs from them, stands in each class. They are chosen by
`fusion.kind`; what they have pooled goes through the same two-layer MLP as every other head (`network.Fusion`).

Unlike TAEMI's attention, recurrences, convolutions and self-attention over everything notice how many steps a stream
has. So a missing stream is one step of its token for them, in training as at run time (`TOKEN_STEPS`), and a clip ends
at its last valid step however far it is padded.

Shapes in this file: B clips, T steps of a stream, d the shared width of the fusion.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from taemi_edge.taemi.attention import Attention
from taemi_edge.taemi.names import MODALITIES, Modality
from taemi_edge.taemi.pooling import last_step, masked_mean, masked_statistics, reverse_steps
from taemi_edge.taemi.recipe import FusionRecipe

#: How many steps of its token stand in for a missing stream.
TOKEN_STEPS = 1


class PublishedHead(nn.Module):
    """Pools the aligned states of the streams, (B, T, d) each, to one vector a clip, (B, `width`).

    Attributes:
        width: of the pooled vector.
        reads: the streams whose features reach the output; the others may hold anything.
        ordered: the streams whose steps must come in the order of time.
    """

    reads: tuple[Modality, ...] = MODALITIES
    ordered: tuple[Modality, ...] = ()

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, states: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> Tensor:
        raise NotImplementedError


class SpeechLstm(PublishedHead):
    """Speech alone through an LSTM, after Hallmen et al. (arXiv 2504.11460, and 2403.11879 of the same group).

    Theirs: speech features, each joined with the mean over the clip, through an LSTM and a two-layer MLP. Left out:
    their wav2vec2 of podcasts with its valence, arousal and dominance, and the entry with text and faces beside it.
    Ours: one layer, the state after the last step, the widths.
    """

    reads = ("audio",)
    ordered = ("audio",)

    def __init__(self, recipe: FusionRecipe) -> None:
        super().__init__(recipe.dim)
        self.lstm = nn.LSTM(2 * recipe.dim, recipe.dim, batch_first=True)

    def forward(self, states: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> Tensor:
        speech, mask = states["audio"], masks["audio"]
        mean = masked_mean(speech, mask).unsqueeze(1).expand_as(speech)
        read, _ = self.lstm(torch.cat([speech, mean], dim=2))
        return last_step(read, mask)


class Statistics(PublishedHead):
    """Statistics of the streams through an MLP, after Savchenko (arXiv 2503.10399).

    Theirs: frame-wise facial features aggregated over the clip, beside acoustic features and embeddings of the text,
    through an MLP with one hidden layer. Left out: their encoders, and blending several such models. Ours: which
    statistics (mean, deviation, minimum and maximum of the face; the mean of speech and text).
    """

    def __init__(self, recipe: FusionRecipe) -> None:
        super().__init__(6 * recipe.dim)

    def forward(self, states: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> Tensor:
        means = [masked_mean(states[m], masks[m]) for m in ("audio", "text")]
        return torch.cat([masked_statistics(states["vision"], masks["vision"]), *means], dim=1)


class JointTransformer(PublishedHead):
    """A transformer block over all steps of all streams, after Zhang et al. (arXiv 2403.10825).

    Theirs: a transformer that fuses the features of picture, sound and transcript. Left out: their masked autoencoder
    of faces, and a classifier for each kind of scene. Ours: one block with the norms before it, an embedding that
    tells the streams apart, pooling by mean.
    """

    def __init__(self, recipe: FusionRecipe) -> None:
        super().__init__(recipe.dim)
        self.stream = nn.ParameterDict({m: nn.Parameter(torch.randn(recipe.dim) * 0.02) for m in MODALITIES})
        self.before_attention, self.before_mlp = nn.LayerNorm(recipe.dim), nn.LayerNorm(recipe.dim)
        self.attention = Attention(recipe.dim, recipe.heads)
        self.mlp = nn.Sequential(
            nn.Linear(recipe.dim, 2 * recipe.dim),
            nn.GELU(),
            nn.Dropout(recipe.dropout),
            nn.Linear(2 * recipe.dim, recipe.dim),
        )

    def forward(self, states: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> Tensor:
        sequence = torch.cat([states[m] + self.stream[m] for m in MODALITIES], dim=1)
        mask = torch.cat([masks[m] for m in MODALITIES], dim=1)
        normed = self.before_attention(sequence)
        sequence = sequence + self.attention(normed, normed, mask)
        sequence = sequence + self.mlp(self.before_mlp(sequence))
        return masked_mean(sequence, mask)


class TcnBiLstm(PublishedHead):
    """Convolutions over the face, a gated BiLSTM over the voice, weighted streams, after Yu et al. (arXiv 2503.10603).

    Theirs: a temporal convolutional network for facial expressions, a gated bidirectional LSTM for acoustic features,
    and a fusion that weighs the streams by their quality. Left out: their first stage, contrastive training of each
    stream against the text. Ours: three residual convolutions that see both ways, a gate between what the LSTM reads
    and what it was given, text by its mean, one score for the quality of a stream.
    """

    ordered = ("vision", "audio")

    def __init__(self, recipe: FusionRecipe) -> None:
        super().__init__(3 * recipe.dim)
        self.convolutions = nn.ModuleList(TemporalConvolution(recipe, dilation) for dilation in (1, 2, 4))
        self.recurrence = GatedBiLstm(recipe.dim)
        self.quality = nn.ModuleDict({m: nn.Linear(recipe.dim, 1) for m in MODALITIES})

    def forward(self, states: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> Tensor:
        face = states["vision"]
        for convolution in self.convolutions:
            face = convolution(face, masks["vision"])
        read = {"vision": face, "audio": self.recurrence(states["audio"], masks["audio"]), "text": states["text"]}
        pooled = {m: masked_mean(read[m], masks[m]) for m in MODALITIES}
        weights = torch.softmax(torch.cat([self.quality[m](pooled[m]) for m in MODALITIES], dim=1), dim=1)
        return torch.cat([pooled[m] * weights[:, i : i + 1] for i, m in enumerate(MODALITIES)], dim=1)


class TemporalConvolution(nn.Module):
    """A dilated convolution over three steps with a residual, (B, T, d), as in Bai et al. (arXiv 1803.01271).

    Padding is zero before the convolution, as what lies outside of the clip is: a clip gives the same however far it
    is padded. It is as long as before, so one step is enough.
    """

    def __init__(self, recipe: FusionRecipe, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(recipe.dim)
        self.convolution = nn.Conv1d(recipe.dim, recipe.dim, 3, padding=dilation, dilation=dilation)
        self.dropout = nn.Dropout(recipe.dropout)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        normed = self.norm(states) * mask.to(states.dtype).unsqueeze(2)
        mixed = self.convolution(normed.transpose(1, 2)).transpose(1, 2)
        convolved: Tensor = states + self.dropout(nn.functional.gelu(mixed))
        return convolved


class GatedBiLstm(nn.Module):
    """An LSTM in each direction, and a gate that chooses between them and their input, (B, T, d).

    `nn.LSTM(bidirectional=True)` would go backwards through the padding first, and packed sequences do not export.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.ahead = nn.LSTM(dim, dim // 2, batch_first=True)
        self.back = nn.LSTM(dim, dim - dim // 2, batch_first=True)
        self.gate = nn.Linear(2 * dim, dim)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        ahead, _ = self.ahead(states)
        back, _ = self.back(reverse_steps(states, mask))
        read = torch.cat([ahead, reverse_steps(back, mask)], dim=2)
        gate = torch.sigmoid(self.gate(torch.cat([read, states], dim=2)))
        gated: Tensor = gate * read + (1 - gate) * states
        return gated


#: By `fusion.kind`.
PUBLISHED_HEADS: dict[str, type[SpeechLstm | Statistics | JointTransformer | TcnBiLstm]] = {
    "speech-lstm": SpeechLstm,
    "statistics": Statistics,
    "joint-transformer": JointTransformer,
    "tcn-bilstm": TcnBiLstm,
}


def make_published_head(recipe: FusionRecipe) -> PublishedHead | None:
    """The published head that a recipe names with `kind`; None where it names TAEMI or one of its baselines.

    Example:
        >>> make_published_head(FusionRecipe(kind="speech-lstm", dim=8)).reads
        ('audio',)
    """
    head = PUBLISHED_HEADS.get(recipe.kind)
    return None if head is None else head(recipe)
