"""Requests to a registry: the client of `oras` with time-outs, rules for credentials, and bounded answers.

The registry may be hostile, or somebody may sit in between, so:

- Credentials go to the registry's own host, and to the host that gives its tokens where that is the same, a domain
  above or below it, or one that the user named. A redirect to another host gets none.
- Plain http is spoken to this machine alone, or where the user asks for it; https never leads back to http.
- Every answer must come within a time, and no more of it is read than was asked for.
- Errors name the host and what was asked, never a whole URL: addresses of storage carry signatures in their query.
"""

from __future__ import annotations

import base64
import ssl
import time
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import msgspec
import requests
import urllib3
from oras.auth.utils import parse_auth_header
from oras.provider import Registry

from taemi_edge.errors import RegistryError, UsageError
from taemi_edge.fleet.credentials import Credentials, find_credentials
from taemi_edge.fleet.deadlines import DeadlineAdapter
from taemi_edge.fleet.reference import Reference

#: Seconds for a connection, and for the next byte of an answer.
_TIMEOUT_S = (10.0, 30.0)
_MOST_REDIRECTS = 5
#: A request that broke is made again after these seconds.
RETRY_AFTER_S = (0.5, 1.0, 2.0)
#: Answers of registries and token servers that are not files.
_MOST_ANSWER_BYTES = 1 << 20
#: Docker's own registry gives its tokens elsewhere.
_KNOWN_TOKEN_HOSTS = {"registry-1.docker.io": "auth.docker.io"}
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "taemi-edge"}
_REDIRECTS = (301, 302, 303, 307, 308)


class BrokenTransferError(RegistryError):
    """A request broke on the way, or the server is too busy: it is worth another try."""


@dataclass(frozen=True)
class Access:
    """How a registry may be reached.

    Attributes:
        plain_http: speak http to a registry on another machine. Everybody on the way can read and change what is sent.
        ca_file: the certificates that the registry's one is checked against; None for those that `requests` knows, and
            for /etc/docker/certs.d/HOST/ca.crt where it is there.
        token_hosts: further hosts that may be given the credentials in exchange for a token.
    """

    plain_http: bool = False
    ca_file: Path | None = None
    token_hosts: tuple[str, ...] = ()


#: The registry on this machine by http, any other by https, checked against the usual certificates.
USUAL_ACCESS = Access()


class _Token(msgspec.Struct):
    token: str = ""
    access_token: str = ""


class RegistryClient(Registry):  # type: ignore[misc] # oras has no types
    """`oras.provider.Registry` for one repository; every request of it goes through `do_request`.

    Args:
        reference: of what is pulled or pushed.
        access: how the registry may be reached.

    Raises:
        UsageError: the file of certificates is missing.
        RegistryError: a file of credentials cannot be read.
    """

    def __init__(self, reference: Reference, access: Access) -> None:
        host = "registry-1.docker.io" if reference.host == "docker.io" else reference.host
        super().__init__(hostname=host, insecure=access.plain_http, tls_verify=_certificates(reference, access))
        self.reference, self._access = reference, access
        self._credentials: Credentials | None = None
        self._authorization = ""
        self._asked_files = False
        self.session.auth = _without_netrc
        self.session.get_redirect_target = _nowhere
        self.session.trust_env = not reference.is_local  # a proxy would carry a password in plain http off this machine
        self.session.mount("https://", DeadlineAdapter())
        self.session.mount("http://", DeadlineAdapter())
        if reference.is_local and not access.plain_http and access.ca_file is None:
            self._find_scheme()

    def __enter__(self) -> RegistryClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()

    def address(self, path: str) -> str:
        """The URL of something in the repository, such as `manifests/latest`."""
        return f"{self.prefix}://{self.hostname}/v2/{self.reference.repository}/{path}"

    def do_request(
        self,
        url: str,
        method: str = "GET",
        data: Any = None,
        headers: dict[str, str] | None = None,
        json: Any = None,
        stream: bool = True,
    ) -> requests.Response:
        """Make a request, log in where that is asked for, and follow redirects.

        The body of the answer is not read: use `answer_of` for a short one, and close the response in any case.

        Raises:
            BrokenTransferError: the server cannot be reached, breaks off, answers too slowly or is too busy.
            RegistryError: it refuses, or leads to where this client does not go.
        """
        if json is not None:
            data = msgspec.json.encode(json)
        response = self._follow(method, url, headers or {}, data)
        if response.status_code == 401:
            response.close()
        if response.status_code == 401 and self._log_in(response):
            if hasattr(data, "seek"):
                data.seek(0)
            response = self._follow(method, url, headers or {}, data)
        if response.status_code in (408, 425, 429) or response.status_code >= 500:
            response.close()
            raise BrokenTransferError(f"{self.hostname}: the registry answers {_status(response)}: try again later")
        return response

    def ask(self, url: str, method: str = "GET", **options: Any) -> requests.Response:
        """`do_request`, made again after a pause where it broke; for requests that may be made twice."""
        for wait_s in RETRY_AFTER_S:
            try:
                return self.do_request(url, method, **options)
            except BrokenTransferError:
                time.sleep(wait_s)
        return self.do_request(url, method, **options)

    def refusal(self, response: requests.Response, what: str) -> RegistryError:
        """The error for an answer that is no success; the answer is closed.

        Args:
            response: the answer.
            what: was asked for, such as "the manifest of oci://HOST/NAME:TAG".
        """
        response.close()
        found = "" if self._credentials is None else f" (credentials from {self._credentials.found_in})"
        advice = {
            401: f"log in with `docker login {self.hostname}`{found}",
            403: f"the account may not do that{found}",
            404: "look at its name and tag",
        }.get(response.status_code, "ask who runs the registry")
        return RegistryError(f"{self.hostname}: expected {what}, the registry answers {_status(response)}: {advice}")

    def _find_scheme(self) -> None:
        """Find out whether a registry on this machine speaks https."""
        try:
            self._exchange("GET", f"https://{self.hostname}/v2/", {}, None).close()
        except BrokenTransferError as error:
            if isinstance(error.__cause__, requests.exceptions.SSLError) and _certificate_problem(error) is None:
                self.prefix = "http"

    def _follow(self, method: str, url: str, headers: dict[str, str], data: Any) -> requests.Response:
        """Make a request and follow redirects of what is read; only the registry itself gets credentials."""
        for _ in range(_MOST_REDIRECTS):
            own = _origin(url) == _origin(self.address(""))
            secret = {"Authorization": self._authorization} if own and self._authorization else {}
            response = self._exchange(method, url, {**headers, **secret}, data)
            if response.status_code not in _REDIRECTS or method not in ("GET", "HEAD"):
                return response
            response.close()
            url = self.allowed_address(url, response.headers.get("Location", ""))
        raise RegistryError(f"{self.hostname}: expected an answer after at most {_MOST_REDIRECTS} redirects, got more")

    def allowed_address(self, base: str, named: str) -> str:
        """Give an address that the registry named, where this client may go there.

        Args:
            base: the address of the request that it answered.
            named: what it named, relative to that or not.

        Raises:
            RegistryError: it is no https, or has a user name or a password in it.
        """
        try:
            parts = urlsplit(url := urljoin(base, named))
            allowed = parts.scheme in ("https", self.prefix) and parts.hostname and not parts.username
            allowed = allowed and parts.port != 0  # reading the port checks it
        except ValueError:
            allowed = False
        if not allowed:
            raise RegistryError(f"{self.hostname}: the registry leads to an address that is no plain {self.prefix} URL")
        return url

    def _exchange(self, method: str, url: str, headers: dict[str, str], data: Any) -> requests.Response:
        """One request and its answer, without redirects."""
        try:
            return self.session.request(
                method,
                url,
                data=data,
                headers={**_HEADERS, **headers},
                stream=True,
                allow_redirects=False,
                timeout=_TIMEOUT_S,
                verify=self._tls_verify,
            )
        except (requests.exceptions.RequestException, UnicodeError, ValueError) as error:
            host = urlsplit(url).netloc.rpartition("@")[2]
            raise BrokenTransferError(
                f"{host}: the registry cannot be reached: {reason_of(error)}: look at its address and the network"
            ) from error

    def _log_in(self, challenge: requests.Response) -> bool:
        """Get what the registry asks for with its 401; False where there is nothing more to give."""
        if _origin(challenge.url) != _origin(self.address("")):
            return False  # a redirect led elsewhere: nobody there gets anything
        if not self._asked_files:
            self._credentials, self._asked_files = find_credentials(self.reference), True
        wanted = challenge.headers.get("Www-Authenticate", "")[:4096]
        before = self._authorization
        if wanted.lower().startswith("bearer"):
            token = self._token(parse_auth_header(wanted))
            self._authorization = f"Bearer {token}" if token else ""
        elif wanted.lower().startswith("basic") and self._credentials is not None:
            self._authorization = _basic(self._credentials)
        return bool(self._authorization) and self._authorization != before

    def _token(self, wanted: Any) -> str:
        """Exchange the credentials, or nothing, for a token (https://distribution.github.io/distribution/spec/auth/token)."""
        realm = self.allowed_address(self.address(""), wanted.realm or "")
        self._require_token_host(urlsplit(realm).hostname or "")
        query = urlencode({k: v for k, v in (("service", wanted.service), ("scope", wanted.scope)) if v})
        url = f"{realm}{'&' if urlsplit(realm).query else '?'}{query}"
        headers = {} if self._credentials is None else {"Authorization": _basic(self._credentials)}
        response = self._exchange("GET", url, headers, None)
        try:
            if response.status_code != 200:
                return ""
            given = msgspec.json.decode(answer_of(response), type=_Token)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return ""
        finally:
            response.close()
        token = given.token or given.access_token
        return token if token.isascii() and token.isprintable() and " " not in token else ""

    def _require_token_host(self, host: str) -> None:
        """Refuse to give the credentials to a host that has nothing to do with the registry."""
        own = (urlsplit(self.address("")).hostname or "").lower()
        host = host.lower()
        allowed = {own, _KNOWN_TOKEN_HOSTS.get(own, own), *(name.lower() for name in self._access.token_hosts)}
        if host not in allowed and not own.endswith(f".{host}") and not host.endswith(f".{own}"):
            raise RegistryError(
                f"{self.hostname}: the registry wants the credentials to be sent to {host[:80]}: if that is right, "
                f"allow it with --token-host {host[:80]}"
            )


def answer_of(response: requests.Response, most_bytes: int = _MOST_ANSWER_BYTES, limit_s: float = 60.0) -> bytes:
    """Read a short answer and close it.

    Raises:
        RegistryError: it is longer.
        BrokenTransferError: it breaks off, or takes longer than `limit_s`.
    """
    host, content, until = urlsplit(response.url).netloc, bytearray(), time.monotonic() + limit_s
    with response:
        for block in blocks_of(response):
            content += block
            if len(content) > most_bytes:
                raise RegistryError(f"{host}: expected an answer of at most {most_bytes} bytes, got more")
            if time.monotonic() > until:
                raise BrokenTransferError(f"{host}: expected an answer within {limit_s:.0f} s, it is still coming")
    return bytes(content)


def blocks_of(response: requests.Response) -> Any:
    """Give the bytes of an answer as they come, as they are on the wire.

    Raises:
        BrokenTransferError: the connection breaks.
        RegistryError: the answer is packed, which was not asked for.
    """
    host = urlsplit(response.url).netloc
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise RegistryError(f"{host}: expected an answer as it is, got a packed one: ask who runs the registry")
    try:
        while block := response.raw.read1(1 << 18, decode_content=False):
            yield block
    except (urllib3.exceptions.HTTPError, HTTPException, OSError) as error:
        raise BrokenTransferError(f"{host}: the transfer broke off: {reason_of(error)}") from error


def reason_of(error: BaseException) -> str:
    """Say why a request failed, without the address in it: the sentences of `requests` hold the whole URL."""
    certificate = _certificate_problem(error)
    if certificate is not None:
        return f"its certificate is not accepted ({certificate}): name who signed it with --ca-file"
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError):
            return f"it does not speak TLS as expected ({cause.reason or 'broken off'})"
        if isinstance(cause, TimeoutError) or "Timeout" in type(cause).__name__:
            return "no answer in time"
        if isinstance(cause, OSError) and not isinstance(cause, requests.exceptions.RequestException):
            return (cause.strerror or "the connection broke").lower()
    return "the connection broke"


def _certificate_problem(error: BaseException) -> str | None:
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause.verify_message
    return None


def _causes(error: BaseException) -> list[BaseException]:
    """An error and all that led to it; urllib3 keeps some of them as arguments."""
    found: list[BaseException] = []
    waiting: list[Any] = [error]
    while waiting and len(found) < 32:
        each = waiting.pop(0)
        if isinstance(each, BaseException) and each not in found:
            found.append(each)
            waiting += [*each.args, getattr(each, "reason", None), each.__cause__, each.__context__]
    return found


def _certificates(reference: Reference, access: Access) -> str | bool:
    if access.ca_file is not None:
        if not access.ca_file.is_file():
            raise UsageError(f"--ca-file {access.ca_file}: expected a file of certificates (PEM), found none")
        return str(access.ca_file)
    usual = Path("/etc/docker/certs.d", reference.host, "ca.crt")
    return str(usual) if usual.is_file() else True


def _basic(credentials: Credentials) -> str:
    pair = f"{credentials.user}:{credentials.password}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), port


def _status(response: requests.Response) -> str:
    """The status in the standard's words: a registry could write anything there."""
    try:
        return f"{response.status_code} ({HTTPStatus(response.status_code).phrase})"
    except ValueError:
        return str(response.status_code)


def _nowhere(response: Any) -> None:
    """Keep `requests` from reading where a redirect leads: `_follow` does, by rules of its own."""


def _without_netrc(request: Any) -> Any:
    """Leave a request as it is: without this, `requests` sends what ~/.netrc holds for whatever host is asked."""
    return request
