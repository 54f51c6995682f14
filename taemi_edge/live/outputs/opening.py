"""Opens every output that the configuration of a live run names.

This is the one list of all outputs: a new output is a new module in this folder and a line in `OPENERS`.
"""

from __future__ import annotations

from collections.abc import Callable

from taemi_edge.errors import MissingExtraError
from taemi_edge.live.outputs.annotated_file import open_annotated_file
from taemi_edge.live.outputs.channels.output import open_channels
from taemi_edge.live.outputs.context import OutputContext
from taemi_edge.live.outputs.lines import open_event_lines, open_prediction_lines
from taemi_edge.live.outputs.mqtt import open_mqtt
from taemi_edge.live.outputs.push import open_push
from taemi_edge.live.outputs.record import open_recorder
from taemi_edge.live.outputs.ros import open_ros
from taemi_edge.live.outputs.systemd import open_service_notifier


def open_page(context: OutputContext) -> None:
    """Serve the page with /healthz and /metrics where the configuration has a `serve` table.

    Raises:
        MissingExtraError: the extra `serve` is not installed.
        UsageError: the port is in use, or the address needs a token and there is none.
    """
    serve = context.config.serve
    if serve is None:
        return
    try:
        from taemi_edge.live.outputs.prometheus import Metrics
        from taemi_edge.live.page.access import find_token
        from taemi_edge.live.page.server import PageServer
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "serve", "--serve") from error
    metrics = Metrics(context.state)
    page = PageServer(serve, find_token(serve), context.state, metrics)
    context.add(metrics)
    context.add(page)
    context.on_serving(page.url)


#: What opens the outputs, in the order in which they are given each hop. The page comes last: what it shows is there.
OPENERS: tuple[Callable[[OutputContext], None], ...] = (
    open_prediction_lines,
    open_event_lines,
    open_annotated_file,
    open_push,
    open_recorder,
    open_channels,
    open_mqtt,
    open_ros,
    open_service_notifier,
    open_page,
)


def open_outputs(context: OutputContext) -> None:
    """Open all outputs of the configuration; each opener does nothing where its output is not asked for.

    Raises:
        UsageError: an address, a port, a token or a password file cannot be used.
        MissingExtraError: an output needs a library that is not installed.
        OutputError: a file cannot be written.
    """
    for open_output in OPENERS:
        open_output(context)
