"""taemi-edge: export, calibrate, compile and run a multimodal model whose streams may drop out."""

from __future__ import annotations

__version__ = "0.1.0"
