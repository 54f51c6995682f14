"""Asks a model on a Triton server for a prediction, to learn whether it still gives any.

The server's own health pages say 200 while the process that runs a Python model is dead: Triton starts it once and
never again. A probe must therefore ask for an inference. This one is a sequence of its own, of one hop without any
data, so it disturbs no source. It speaks HTTP with the standard library alone: a server's container needs no client.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import time
from typing import Any
from urllib.parse import quote, urlsplit

from taemi_edge.errors import CheckFailedError, OptionError, UsageError

#: What a model says that has no slot for one more sequence: it is well.
_FULL = re.compile(r"expected at most \d+ sequences at once")
#: A server's answer that is longer than this is not read.
_MOST_BYTES = 16 << 20
#: Nobody waits for a probe for longer than this.
_LONGEST_S = 3600.0


def probe_model(address: str, model: str, timeout_s: float = 5.0) -> str:
    """Ask a model for a prediction, and say in a few words how it answers.

    A model whose slots are all taken by sources refuses the probe, or Triton keeps it waiting. It is well if it says so
    itself, or answers its sources in that time.

    Args:
        address: of the server's HTTP interface, such as http://localhost:8000.
        model: the model's name in the repository.
        timeout_s: how long the answer may take, in seconds.

    Raises:
        UsageError: the address is not one of HTTP, or the time is not above 0 and at most an hour.
        CheckFailedError: the server is not there, or the model gives no predictions.

    Example:
        >>> try:
        ...     print(probe_model("http://localhost:1", "taemi-tiny"))  # "answered in 12 ms" where a server is
        ... except CheckFailedError as refusal:
        ...     print(refusal)
        taemi-tiny at localhost:1: expected a Triton server, got none: Connection refused
    """
    if not 0 < timeout_s <= _LONGEST_S:  # NaN fails as well
        raise OptionError("timeout_s", "--timeout", f"{timeout_s:g}: expected seconds above 0, at most {_LONGEST_S:g}")
    server = _Server(address, model)
    until = time.monotonic() + timeout_s
    before = server.answers(timeout_s)
    started = time.monotonic()
    try:
        server.ask("infer", max(0.01, until - started), _nothing_but_an_end())
    except CheckFailedError as refusal:
        if _FULL.search(str(refusal)):
            return "answered that every slot is taken"
        raise
    except TimeoutError:
        since = server.answers(timeout_s) - before
        if since > 0:
            return f"busy: every slot is taken, and {since} hops of others were answered in {timeout_s:g} s"
        raise CheckFailedError(
            f"{server}: expected a prediction within {timeout_s:g} s, got none, nor did any source: "
            f"restart the server, or raise --timeout where a hop takes that long"
        ) from None
    return f"answered in {(time.monotonic() - started) * 1e3:.0f} ms"


def _nothing_but_an_end() -> dict[str, Any]:
    """A request that starts a sequence and ends it, of a hop that ends at 0 and holds nothing."""
    sequence = int.from_bytes(os.urandom(7), "little") | 1
    return {
        "parameters": {"sequence_id": sequence, "sequence_start": True, "sequence_end": True},
        "inputs": [{"name": "end_s", "datatype": "FP64", "shape": [1, 1], "data": [0.0]}],
        "outputs": [{"name": "presence"}],
    }


class _Server:
    """What Triton's HTTP interface says of one model."""

    def __init__(self, address: str, model: str) -> None:
        parts = urlsplit(address if "//" in address else f"http://{address}")
        try:
            self._host, self._port = parts.hostname or "", parts.port or 80
            self._host.encode("idna")
        except ValueError:  # a port that is no number, or a name that no host can have
            self._host = ""
        if parts.scheme != "http" or not self._host:
            raise UsageError(f"{address}: expected the address of a server, http://HOST:PORT")
        self._path = f"{quote(parts.path.rstrip('/'), safe='/%')}/v2/models/{quote(model, safe='')}"
        self._name = f"{model} at {self._host}:{self._port}"

    def __str__(self) -> str:
        return self._name

    def answers(self, timeout_s: float) -> int:
        """How many requests the model has answered since the server started."""
        try:
            [statistics, *_] = self.ask("stats", timeout_s)["model_stats"]
            return int(statistics["inference_stats"]["success"]["count"])
        except TimeoutError as error:
            raise CheckFailedError(f"{self}: expected an answer within {timeout_s:g} s, got none") from error
        except (KeyError, TypeError, ValueError) as error:
            raise CheckFailedError(f"{self}: expected Triton's statistics, got something else") from error

    def ask(self, verb: str, timeout_s: float, body: dict[str, Any] | None = None) -> Any:
        """The answer to a request about the model.

        Raises:
            TimeoutError: none came in time.
            CheckFailedError: the server is not there, or it refuses.
        """
        connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        try:
            words = (b"", "GET") if body is None else (json.dumps(body).encode(), "POST")
            connection.request(words[1], f"{self._path}/{verb}", words[0] or None)
            answer = connection.getresponse()
            content = json.loads(answer.read(_MOST_BYTES) or b"{}")
        except TimeoutError:
            raise
        except OSError as error:
            reason = error.strerror or error
            raise CheckFailedError(f"{self}: expected a Triton server, got none: {reason}") from error
        except (http.client.HTTPException, ValueError) as error:
            raise CheckFailedError(f"{self}: expected a Triton server, got an answer that is not JSON") from error
        finally:
            connection.close()
        if answer.status != http.client.OK:
            reason = content.get("error", "no reason") if isinstance(content, dict) else "no reason"
            raise CheckFailedError(f"{self}: expected a prediction, got status {answer.status}: {reason}")
        return content
