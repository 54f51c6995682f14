"""Reads HOST:PORT, and says what a message may show of a text that is none."""

from __future__ import annotations

import ipaddress
import re


def host_and_port(text: str, names: bool = False) -> tuple[str, int]:
    """Split HOST:PORT.

    Args:
        text: an IPv6 address stands in brackets.
        names: whether any name is allowed for the host, not only an IP address or localhost.

    Raises:
        ValueError: the text is something else.

    Example:
        >>> host_and_port("[::1]:8080")
        ('::1', 8080)
    """
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    wrong = ValueError(f"expected HOST:PORT such as 127.0.0.1:8080, got {shown_host(text)}")
    if not (colon and host and re.fullmatch(r"[0-9]{1,5}", port) and int(port) <= 65_535):
        raise wrong
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}(%[A-Za-z0-9.]{1,15})?", host):
        raise wrong
    if host != "localhost" and not names:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise wrong from None
    return host, int(port)


def shown_host(text: str) -> str:
    """What a message shows of a text that is no HOST:PORT; a name and a password before an @ are not shown.

    >>> shown_host("example.org:80"), shown_host("mqtt://me:secret@broker:1883")
    ("'example.org:80'", 'something else')
    """
    return repr(text) if re.fullmatch(r"[A-Za-z0-9._-]{0,100}(:[0-9]{0,8})?", text) else "something else"
