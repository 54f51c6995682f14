"""Attention written out gives what PyTorch's own gives, with every kind of mask, and PyTorch gets its own back."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="export starts from PyTorch")

from torch.nn import functional

from taemi_edge.export.attention import written_out_attention

X, KEYS = torch.randn(3, 5, 8), torch.randn(3, 7, 6)
PADDING = torch.arange(7) >= torch.tensor([[7], [4], [1]])
CAUSAL = torch.ones(5, 7, dtype=torch.bool).triu(2)


@pytest.mark.parametrize("options", [{}, {"kdim": 6, "vdim": 6}, {"bias": False, "kdim": 6, "vdim": 6}])
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"key_padding_mask": PADDING},
        {"attn_mask": CAUSAL},
        {"attn_mask": torch.randn(5, 7), "key_padding_mask": torch.zeros(3, 7).masked_fill(PADDING, -1e4)},
        {"attn_mask": torch.randn(6, 5, 7), "average_attn_weights": False},
        {"need_weights": False},
    ],
)
def test_it_gives_what_pytorch_gives(options: dict, given: dict):
    torch.manual_seed(0)
    attention = torch.nn.MultiheadAttention(8, 2, batch_first=True, **options).eval()
    keys = KEYS if options else torch.randn(3, 7, 8)
    want = attention(X, keys, keys, **given)
    with written_out_attention(attention):
        assert functional.multi_head_attention_forward.__module__ == "taemi_edge.export.attention"
        got = attention(X, keys, keys, **given)
    torch.testing.assert_close(got, want)
    assert functional.multi_head_attention_forward.__module__ == "torch.nn.functional"


def test_what_is_rare_stays_with_pytorch():
    attention = torch.nn.MultiheadAttention(8, 2, add_bias_kv=True, add_zero_attn=True).eval()
    want = attention(X, X, X)
    with written_out_attention(attention):
        torch.testing.assert_close(attention(X, X, X), want)


def test_an_error_while_tracing_gives_pytorch_its_own_back():
    with pytest.raises(KeyError), written_out_attention(torch.nn.TransformerEncoderLayer(8, 2)):
        raise KeyError
    assert functional.multi_head_attention_forward.__module__ == "torch.nn.functional"
