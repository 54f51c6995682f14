"""What a server's refusal means, in one sentence that says what to do.

pyarrow gives every failure of a server as an OSError with the client's words in it. Those words may hold the id of a
key, so nothing of them is repeated but names of errors that are listed here.
"""

from __future__ import annotations

import re

from taemi_edge.corpora.remote_address import RemoteAddress
from taemi_edge.errors import PlaceError

#: "AWS Error ACCESS_DENIED during", "AWS Error UNKNOWN (HTTP status 400) during ...: Unable to parse ExceptionName: X".
_AWS = re.compile(r"AWS Error ([A-Z_]{2,60})(?: \(HTTP status (\d{3})\))? during")
_AWS_NAME = re.compile(r"ExceptionName: ([A-Za-z]{2,60})\b")
#: "google::cloud::Status(PERMISSION_DENIED: ..." and its newer form "code=PERMISSION_DENIED".
_GOOGLE = re.compile(r"(?:Status\(|code=)([A-Z_]{2,40})\b")

_NOBODY = ("nosuchbucket", "notfound")
_EXPIRED = ("expiredtoken", "tokenrefreshrequired", "requestexpired", "unauthenticated")
_UNKNOWN_KEY = (
    *("invalidaccesskeyid", "signaturedoesnotmatch", "invalidtoken", "invalidclienttokenid", "unrecognizedclient"),
    *("invalidsignature", "authorizationheadermalformed"),
)
_REFUSED = ("accessdenied", "permissiondenied", "allaccessdisabled", "missingauthenticationtoken", "accountproblem")
_OTHER_REGION = ("permanentredirect", "illegallocationconstraintexception")
_OTHER_CLOCK = ("requesttimetooskewed",)
_WHY = {
    "could not resolve": "nobody knows that name",
    "timeout": "it does not answer in time",
    "timed out": "it does not answer in time",
    "ssl": "it does not speak TLS, or with a certificate that is not trusted here",
    "could not connect": "nothing accepts connections there",
    "failed to connect": "nothing accepts connections there",
}


def code_of(error: OSError) -> str:
    """The name that a server or its client gives an error, or its HTTP status; "an error" where there is none.

    Example:
        >>> code_of(OSError("When listing: AWS Error ACCESS_DENIED during ListObjectsV2 operation: key AKIA9 says no"))
        'ACCESS_DENIED'
        >>> code_of(OSError("AWS Error UNKNOWN (HTTP status 400) during X: ExceptionName: ExpiredToken"))
        'ExpiredToken'
    """
    text = str(error)
    if name := _AWS_NAME.search(text):
        return name[1]
    if found := _AWS.search(text):
        return f"HTTP status {found[2]}" if found[2] else found[1]
    found = _GOOGLE.search(text)
    return found[1] if found else "an error"


def is_missing(error: OSError) -> bool:
    """Whether an error says that a file or folder is not there; the client of Google gives no error of its own for it.

    Example:
        >>> is_missing(FileNotFoundError()), is_missing(OSError("No such file or directory 'clips/a'"))
        (True, True)
    """
    return isinstance(error, FileNotFoundError) or str(error).startswith("No such file or directory")


def place_error(address: RemoteAddress, doing: str, error: OSError) -> PlaceError:
    """Say of a place what is the matter with it.

    Args:
        address: the place.
        doing: what was tried, such as "read".
        error: as pyarrow gave it.
    """
    code = code_of(error)
    kind = code.replace("_", "").lower()
    where, server = str(address), address.server
    if kind in _NOBODY:
        return PlaceError(f"{where}: {server} has no bucket {address.bucket!r}: check its name, region and endpoint")
    if kind in _EXPIRED:
        return PlaceError(f"{where}: the credentials have expired ({code}): renew them, and run the same command again")
    if kind in _UNKNOWN_KEY:
        return PlaceError(f"{where}: {server} does not know these credentials ({code}): check them in the environment")
    if kind in _REFUSED or kind == "httpstatus403":
        return PlaceError(
            f"{where}: {server} does not let these credentials {doing} ({code}): ask for the right, or give others in "
            f"the environment"
        )
    if kind in _OTHER_REGION or kind == "httpstatus301":
        return PlaceError(f"{where}: the bucket lies in another region: add ?region=NAME, or set AWS_REGION")
    if kind in _OTHER_CLOCK:
        return PlaceError(f"{where}: the clock of this machine differs from that of {server}: set it, and try again")
    if why := next((why for sign, why in _WHY.items() if sign in str(error).lower()), None):
        return PlaceError(
            f"{where}: {server} cannot be reached, {why}: check endpoint_override or AWS_ENDPOINT_URL, and the network"
        )
    return PlaceError(f"{where}: {server} failed to {doing} ({code}): try again later, what is written so far is whole")
