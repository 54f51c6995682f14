"""Whether the Hugging Face hub can be asked: without a network its library tries for half a minute, and says so often.

Nothing is downloaded here.
"""

from __future__ import annotations

import socket
import threading
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

#: A name is found and a connection made within so many seconds where there is a network.
_PATIENCE_S = 4.0
HUB_ADVICE = (
    "download them once where the hub is in reach (`hf download {name}`, whose folder ~/.cache/huggingface can be "
    "copied), name a local folder in the recipe, or pass --random-weights to try the pipeline without them"
)


def is_on_the_hub(reference: str) -> bool:
    """Whether weights are named by an id of the hub, and not by a folder that is here.

    >>> is_on_the_hub("google/vit-base-patch16-224")
    True
    """
    return not Path(reference).exists()


def hub_problem() -> str | None:
    """Say why the hub is not asked, in words; None where it answers."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    host, port = _first_host(constants.ENDPOINT)
    return None if _answers(host, port) else f"{host} cannot be reached from here"


def _first_host(endpoint: str) -> tuple[str, int]:
    """Where the first connection goes: to the hub, or to the proxy that stands in between."""
    address = urlsplit(endpoint)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(address.scheme) or proxies.get("all")
    if proxy and not urllib.request.proxy_bypass(address.hostname or ""):
        address = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    return address.hostname or "", address.port or (80 if address.scheme == "http" else 443)


def _answers(host: str, port: int) -> bool:
    """Whether a connection can be made; a resolver without a network may take minutes, and is not waited for."""
    found = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection((host, port), _PATIENCE_S).close()
        except (OSError, UnicodeError):
            return
        found.set()

    trying = threading.Thread(target=connect, name="hub", daemon=True)
    trying.start()
    trying.join(_PATIENCE_S)
    return found.is_set()
