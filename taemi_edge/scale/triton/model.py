"""Serves the bundle beside this file in Triton's Python backend.

`taemi-edge export-triton` copies this file as it is. The Python that runs it needs taemi-edge: Triton's stub takes the
environment of the `python3` that stands first in PATH.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]

try:
    from taemi_edge.bundle.folder import open_bundle
    from taemi_edge.bundle.trusted_keys import required_key
    from taemi_edge.errors import TaemiError
    from taemi_edge.scale.triton.config import served_model
    from taemi_edge.scale.triton.serving import Answer, Request, SequenceServer
    from taemi_edge.scale.triton.tensors import dlpack_capsule
except ImportError as error:
    raise ImportError(
        f"{error}: install the taemi-edge that wrote this model into {sys.prefix}, or put the bin/ of an environment "
        f"that has it first in PATH"
    ) from None


class TritonPythonModel:
    """What Triton's Python backend calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the bundle."""
        folder = Path(args["model_repository"], args["model_version"], "bundle")
        try:
            bundle = open_bundle(folder, require_signature=required_key())
            self._server = SequenceServer(bundle, served_model(json.loads(args["model_config"])["parameters"]))
        except TaemiError as error:
            raise pb_utils.TritonModelException(str(error)) from None

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer a batch: one response for each request, in order."""
        return [_response(answer) for answer in self._server.answer([_request(request) for request in requests])]

    def finalize(self) -> None:
        """Free the device."""
        self._server.close()


def _request(request: Any) -> Request:
    flags = request.flags()
    return Request(
        request.correlation_id(),
        starts=bool(flags & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START),
        ends=bool(flags & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END),
        tensors={tensor.name(): np.from_dlpack(tensor) for tensor in request.inputs()},
    )


def _response(answer: Answer) -> Any:
    if isinstance(answer, str):
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(answer, pb_utils.TritonError.INVALID_ARG))
    tensors = [pb_utils.Tensor.from_dlpack(name, dlpack_capsule(array)) for name, array in answer.items()]
    return pb_utils.InferenceResponse(tensors)
