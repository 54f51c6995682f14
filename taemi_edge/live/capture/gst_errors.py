"""What an error of GStreamer means, in words of ours: its own text may repeat an address with its password."""

from __future__ import annotations

import re

_NEEDS = "the pipeline cannot be read"
#: By domain, without its prefix and suffix, and code; see https://gstreamer.freedesktop.org/documentation/gstreamer/gsterror.html
_MEANINGS = {
    ("core", 5): "an element could not change its state",
    ("core", 6): "an element could not be linked",
    ("core", 12): "a plugin that it needs is not installed",
    ("library", 3): "a library could not be started",
    ("resource", 3): "the file, the device or the host was not found",
    ("resource", 4): "the device is in use by another program",
    ("resource", 5): "what it reads cannot be opened",
    ("resource", 6): "what it writes cannot be opened",
    ("resource", 7): "the device cannot be opened",
    ("resource", 9): "reading failed",
    ("resource", 10): "writing failed",
    ("resource", 13): "the device does not take these settings",
    ("resource", 15): "wrong name or password",
    ("stream", 1): "the flow of its data broke off",
    ("stream", 4): "what came is no video or audio that it knows",
    ("stream", 5): "what came is of another type than an element expects",
    ("stream", 6): "a codec that it needs is not installed",
    ("stream", 7): "what came cannot be decoded",
    ("stream", 9): "what came cannot be taken apart",
    ("stream", 11): "what came is of another format than an element expects",
    ("stream", 12): "what came is encrypted",
    ("parse", 0): f"{_NEEDS}: check its quotes and exclamation marks",
    ("parse", 2): f"{_NEEDS}: an element has no property of that name",
    ("parse", 3): f"{_NEEDS}: two of its elements do not fit each other",
    ("parse", 4): f"{_NEEDS}: a property does not take that value",
    ("parse", 5): f"{_NEEDS}: it has a bin without elements",
    ("parse", 6): f"{_NEEDS}: it is empty",
}
_NO_SUCH_ELEMENT = ("parse", 1)


def error_text(pipeline: str, content: str, code: int) -> str:
    """Say what an error means.

    Args:
        pipeline: the description, to say which of its elements is unknown.
        content: a sentence of `gst_child.py`, or the error's domain and the name of an unknown element, each in a line.
        code: of the error in its domain.

    Example:
        >>> error_text("videotestsrc ! nosuch ! appsink", "gst_parse_error\\nnosuch", 1)
        'no element "nosuch": check its spelling, or install the plugin that has it'
        >>> error_text("rtspsrc location=rtsp://me:a ! b ! c", "gst_parse_error\\nb", 1)
        'it has no element of the name that stands in place 2: check its spelling, or install the plugin that has it'
        >>> error_text("rtspsrc", "gst-resource-error-quark\\n", 15)
        'wrong name or password'
    """
    domain, newline, name = content.partition("\n")
    if not newline:
        return content
    kind = re.sub(r"^gst[-_]|[-_]error([-_]quark)?$", "", domain)
    if (kind, code) == _NO_SUCH_ELEMENT:
        return f"{_unknown_element(pipeline, name)}: check its spelling, or install the plugin that has it"
    known = kind if re.fullmatch(r"[a-z-]{1,20}", kind) else "unknown"
    return _MEANINGS.get((kind, code), f"it failed (its error {code} of the kind {known})")


def _unknown_element(pipeline: str, name: str) -> str:
    """Name an element that is unknown, or say where it stands: with an open quote it may be a piece of a password."""
    pieces = [piece.strip() for piece in pipeline.split("!")]
    at = next((at for at, piece in enumerate(pieces) if re.match(rf"{re.escape(name)}(\s|$)", piece)), None)
    if at is None:
        return "it has no element of a name that stands in it"
    before = " ".join(pieces[:at])
    if re.fullmatch(r"[a-z][a-z0-9_-]{0,40}", name) and not re.search(r"[=@\"']|://", before):
        return f'no element "{name}"'
    return f"it has no element of the name that stands in place {at + 1}"
