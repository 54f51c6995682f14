"""Heads as people write them: the patterns of published fusion heads, and mistakes that export without a word."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from taemi_edge.bundle.values import TensorSpec

SOUND = TensorSpec(name="sound", dtype="float32", shape=("batch", "sound_steps", 5))
WORDS = TensorSpec(name="words", dtype="float32", shape=("batch", "words_steps", 6))
SOUND_MASK = TensorSpec(name="sound_mask", dtype="int32", shape=("batch", "sound_steps"))
WORDS_MASK = TensorSpec(name="words_mask", dtype="int32", shape=("batch", "words_steps"))
SCORES = TensorSpec(name="scores", dtype="float32", shape=("batch", 3))

#: The length of every dynamic dimension while tracing.
LENGTHS = {"batch": 2, "sound_steps": 11, "words_steps": 8}


def masked_mean(x, mask):
    live = mask.to(x.dtype).unsqueeze(-1)
    return (x * live).sum(1) / live.sum(1).clamp(min=1)


class TensorFusion(nn.Module):
    """TFN and LMF: a length read from `.data`, which the tracer takes for a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6 * 7, 3)

    def forward(self, sound, words):
        sound, words = sound.mean(1), words.mean(1)
        batch = sound.data.shape[0]
        one = torch.ones(size=[batch, 1])
        sound, words = torch.cat((one, sound), dim=1), torch.cat((one, words), dim=1)
        return self.head(torch.bmm(sound.unsqueeze(2), words.unsqueeze(1)).view(batch, -1))


class Crossmodal(nn.Module):
    """MULT: a convolution that wants three steps, and addresses that are compared."""

    def __init__(self) -> None:
        super().__init__()
        self.sound, self.words = nn.Conv1d(5, 8, 3, bias=False), nn.Conv1d(6, 8, 3, bias=False)
        self.query, self.both, self.head = nn.Linear(8, 8), nn.Linear(8, 16), nn.Linear(8, 3)

    def forward(self, sound, words):
        q = self.words(words.transpose(1, 2)).transpose(1, 2)
        k = v = self.sound(sound.transpose(1, 2)).transpose(1, 2)
        if k.data_ptr() == v.data_ptr():
            k, v = self.both(k).chunk(2, dim=-1)
        weights = (self.query(q) @ k.transpose(1, 2)).softmax(-1)
        return self.head((weights @ v)[:, -1])


class Packed(nn.Module):
    """MISA and SELF_MM: a packed sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(5, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, sound, sound_mask):
        packed = pack_padded_sequence(sound, sound_mask.sum(1).cpu(), batch_first=True, enforce_sorted=False)
        return self.head(self.lstm(packed)[1][0][-1])


class Gathered(Packed):
    """What the refusal of `Packed` says to write: the state at the last step whose mask is 1."""

    def forward(self, sound, sound_mask):
        states = self.lstm(sound)[0]
        last = sound_mask.sum(1).to(torch.int64).sub(1).view(-1, 1, 1).expand(-1, 1, 8)
        return self.head(states.gather(1, last)[:, 0])


class MaskBranch(nn.Module):
    """LinMulT: a mask of ones is left out by a branch. Traced with masks of ones, the graph has no mask."""

    def __init__(self) -> None:
        super().__init__()
        self.sound, self.words, self.head = nn.Linear(5, 8), nn.Linear(6, 8), nn.Linear(16, 3)

    def forward(self, sound, sound_mask, words, words_mask):
        means = []
        for x, mask in ((self.sound(sound), sound_mask), (self.words(words), words_mask)):
            means.append(x.mean(1) if mask.all() else masked_mean(x, mask))
        return self.head(torch.cat(means, 1))


class ValueBranch(nn.Module):
    """A branch on what is in the sound: no graph has both ways."""

    def __init__(self) -> None:
        super().__init__()
        self.quiet, self.loud = nn.Linear(5, 3), nn.Linear(5, 3)

    def forward(self, sound, sound_mask):
        if sound_mask.sum() > 20:
            return self.loud(masked_mean(sound, sound_mask))
        return self.quiet(masked_mean(sound, sound_mask))


class Deaf(nn.Module):
    """It declares a mask and does not use it."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(5, 3)

    def forward(self, sound, sound_mask):
        return self.head(sound.mean(1))


class Undefined(nn.Module):
    """Its scores are no numbers."""

    def forward(self, sound, sound_mask):
        return masked_mean(sound, sound_mask)[:, :3] * float("nan")


class ByName(nn.Module):
    """Two groups of outputs, by name and in another order than declared."""

    def __init__(self) -> None:
        super().__init__()
        self.scores, self.level, self.drop = nn.Linear(5, 3), nn.Linear(5, 1), nn.Dropout(0.5)

    def forward(self, sound, sound_mask):
        x = self.drop(masked_mean(sound, sound_mask))
        return {"unused": x, "level": self.level(x), "scores": self.scores(x)}


class InOrder(ByName):
    """The same as a tuple."""

    def forward(self, sound, sound_mask):
        given = super().forward(sound, sound_mask)
        return given["scores"], given["level"]
