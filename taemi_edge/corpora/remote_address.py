"""Addresses of places elsewhere: what `s3://bucket/prefix?region=eu-west-1` says, and the connection that it asks for.

pyarrow has the clients (the extra `remote`); it is imported when the first of them is opened. Credentials come from the
environment of the process that opens it, as each cloud's own tools take them. An address never holds any, because
command lines are read by others: so what messages and stores show of an address is all of it but its options.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from taemi_edge.errors import MissingExtraError, UsageError, printable

#: The schemes of places elsewhere, each with the options that may stand behind the `?` of its addresses.
OPTIONS = {
    "s3": ("endpoint_override", "scheme", "region", "anonymous"),
    "gs": ("endpoint_override", "scheme", "anonymous"),
}
#: Where else a server's address may stand: what the AWS command line reads, the narrower one first.
_S3_ENDPOINTS, _REGIONS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"), ("AWS_REGION", "AWS_DEFAULT_REGION")
#: How long a server may take to accept a connection, and to send anything, and how often a request is made that it
#: answered with an error of its own (5xx) or not at all. First contact is made with less patience than the work.
_CONNECT_S, _REQUEST_S, _ATTEMPTS = 5.0, 30.0, 6
_FIRST_REQUEST_S, _FIRST_ATTEMPTS = 10.0, 2

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}")
_VALUES = {
    "endpoint_override": re.compile(
        r"(https?://)?([A-Za-z0-9][A-Za-z0-9.-]{0,252}|\[[0-9A-Fa-f:]{2,45}\])(:\d{1,5})?/?"
    ),
    "scheme": re.compile(r"https?"),
    "region": re.compile(r"[a-z0-9-]{1,40}"),
    "anonymous": re.compile(r"true|false"),
}
_EXAMPLES = {"endpoint_override": "http://127.0.0.1:9000", "scheme": "http", "region": "eu-west-1"}


@dataclass(frozen=True)
class RemoteAddress:
    """A folder or file of a bucket. `str(address)` holds no option, and so nothing that is nobody's business.

    Attributes:
        scheme: "s3" or "gs".
        bucket: its name.
        path: of the folder or file within the bucket, without slashes at its ends; empty for the bucket itself.
        options: by name, such as the server ("endpoint_override") and "region".
    """

    scheme: str
    bucket: str
    path: str
    options: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}{'/' if self.path else ''}{printable(self.path)}"

    @property
    def server(self) -> str:
        """What messages call the server."""
        endpoint = dict(self.options).get("endpoint_override")
        usual = {"s3": "Amazon S3", "gs": "Google Cloud Storage"}
        return f"the server {endpoint}" if endpoint else usual[self.scheme]


def parse_place(where: Path | str) -> Path | RemoteAddress:
    """Read a path or an address.

    Args:
        where: a path, or an address that begins with s3://, gs:// or file:///.

    Raises:
        UsageError: it is an address of another kind, or one with options that nobody knows; or the environment names a
            server or region that cannot be one.

    Example:
        >>> parse_place("runs/store"), parse_place("file:///nfs/a%20store")
        (PosixPath('runs/store'), PosixPath('/nfs/a store'))
        >>> str(parse_place("s3://clips/2026/may?region=eu-west-1"))
        's3://clips/2026/may'
    """
    if "://" not in str(where):
        return Path(where)
    try:
        parts = urlsplit(str(where))
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise UsageError("expected an address such as s3://bucket/folder, got one that cannot be parsed") from None
    scheme = "gs" if parts.scheme == "gcs" else parts.scheme
    if scheme == "file":
        return _local_path(parts.netloc, parts.path)
    if scheme not in OPTIONS:
        known = ", ".join(f"{name}://" for name in OPTIONS)
        raise UsageError(f"expected a path, or an address with {known} or file:///, got one with {scheme!r:.20}")
    if "@" in parts.netloc:
        raise UsageError(
            f"expected {scheme}://BUCKET/FOLDER, got an @ before the folder: credentials do not belong in an address, "
            f"which others can read; give them in the environment"
        )
    if not _BUCKET.fullmatch(parts.netloc) or parts.fragment:
        raise UsageError(
            f"expected {scheme}://BUCKET/FOLDER with a bucket of 2 or more letters, digits, dots and dashes, and no #"
        )
    _require_known_options(f"{scheme}://{parts.netloc}", scheme, options)
    path = unquote(parts.path).strip("/")
    if "\0" in path or (path and any(part in ("", ".", "..") for part in path.split("/"))):
        raise UsageError(f"{scheme}://{parts.netloc}: expected a folder whose parts have names, got {path!r:.60}")
    return RemoteAddress(scheme, parts.netloc, path, _with_environment(scheme, dict(options)))


def _local_path(host: str, path: str) -> Path:
    if host not in ("", "localhost") or not path.startswith("/") or "%00" in path:
        raise UsageError("expected file:///FOLDER with three slashes, the path of a folder that is mounted here")
    return Path(unquote(path))


def _require_known_options(shown: str, scheme: str, options: list[tuple[str, str]]) -> None:
    for name, value in options:
        if name not in OPTIONS[scheme]:
            raise UsageError(
                f"{shown}: expected no options behind the ? but {', '.join(OPTIONS[scheme])}, got another one: "
                f"credentials belong in the environment"
            )
        _require_value(f"{shown}: expected {name}=", name, value)


def _require_value(expected: str, option: str, value: str) -> None:
    if not _VALUES[option].fullmatch(value):
        raise UsageError(f"{expected}{_EXAMPLES.get(option, 'true')} or the like, got another value")


def _with_environment(scheme: str, options: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """The options with what the environment says of the server: workers on other machines have other environments."""
    if scheme == "s3":
        for option, variables in (("endpoint_override", _S3_ENDPOINTS), ("region", _REGIONS)):
            variable = next((name for name in variables if os.environ.get(name)), None)
            if variable is not None and option not in options:
                _require_value(f"{variable}: expected ", option, os.environ[variable])
                options[option] = os.environ[variable]
    if "endpoint_override" in options:
        given, _, server = options["endpoint_override"].rstrip("/").rpartition("://")
        options["endpoint_override"] = server
        options["scheme"] = options.get("scheme") or given or "https"
    return tuple(sorted(options.items()))


@lru_cache(maxsize=16)
def file_system_of(address: RemoteAddress, first: bool = False) -> Any:
    """Give pyarrow's file system for an address; no request is made yet, unless Amazon has to be asked for a region.

    Args:
        address: its scheme and options count.
        first: whether this is the first contact, which shall fail soon.

    Raises:
        MissingExtraError: pyarrow is not installed, or was built without this kind of place.
        OSError: the region of the bucket is not known.
    """
    try:
        from pyarrow import fs
    except ImportError as error:
        raise MissingExtraError("pyarrow", "remote", f"reading and writing {address.scheme}://") from error
    options: dict[str, Any] = dict(address.options)
    options["anonymous"] = options.get("anonymous") == "true"
    try:
        return _s3(fs, address, options, first) if address.scheme == "s3" else _gcs(fs, options, first)
    except ImportError as error:
        purpose = f"reading and writing {address.scheme}:// with a pyarrow that has it (this one has not)"
        raise MissingExtraError("pyarrow", "remote", purpose) from error


def _s3(fs: Any, address: RemoteAddress, options: dict[str, Any], first: bool) -> Any:
    if "region" not in options:
        options["region"] = "us-east-1" if "endpoint_override" in options else fs.resolve_s3_region(address.bucket)
    return fs.S3FileSystem(
        **options,
        connect_timeout=_CONNECT_S,
        request_timeout=_FIRST_REQUEST_S if first else _REQUEST_S,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_FIRST_ATTEMPTS if first else _ATTEMPTS),
        allow_delayed_open=True,  # a small file is one request, a large one appears when its last part is there
    )


def _gcs(fs: Any, options: dict[str, Any], first: bool) -> Any:
    attempts_s = _FIRST_REQUEST_S if first else _REQUEST_S * 2
    return fs.GcsFileSystem(**options, retry_time_limit=timedelta(seconds=attempts_s))
