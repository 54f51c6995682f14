"""A model of which only ONNX files exist: two encoders and a head. No PyTorch module is declared.

taemi-edge export examples/only-onnx/model.py:build --output export/only-onnx
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

import taemi_edge as te

HERE = Path(__file__).parent


def build() -> te.Model:
    """The model as taemi-edge takes it. Its samples are noise and a few words."""
    tokenizer = Tokenizer.from_file(str(HERE / "tokenizer.json"))
    random, samples = np.random.default_rng(0), []
    for words in ("so it is", "no", "that was a good day", "well") * 2:
        ids = np.array(tokenizer.encode(words).ids, np.int32)
        pixels = random.integers(0, 256, (4, 32, 32, 3), np.uint8)
        samples.append({"picture/pixels": pixels, "words/ids": ids, "words/mask": np.ones_like(ids)})
    return te.Model(
        streams={
            "picture": te.Stream(
                te.Video((32, 32), 2.0, crop="whole"), te.OnnxFile(HERE / "picture.onnx", inputs={"image": "pixels"})
            ),
            "words": te.Stream(
                te.Text(HERE / "tokenizer.json", max_tokens=32),
                te.OnnxFile(HERE / "words.onnx", inputs={"input_ids": "ids", "attention_mask": "mask"}),
                missing="mask",
            ),
        },
        head=te.OnnxFile(HERE / "head.onnx", outputs={"logits": "topic", "score": "interest"}),
        outputs={
            "topic": te.Classes(("weather", "work", "people")),
            "interest": te.Regression(("interest",), range=(0.0, 1.0)),
        },
        samples=samples,
        window_s=2.0,
        hop_s=0.5,
        metric="accuracy",
    )
