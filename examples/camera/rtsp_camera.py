"""Plays a video as a camera does, over RTSP: for trying a live run without a camera, and for pulling its cable out.

    sudo apt install python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
    /usr/bin/python3 examples/camera/rtsp_camera.py me.mp4

The address is rtsp://127.0.0.1:8554/live. FILE is an MP4 with H.264 and perhaps AAC, as telephones make. It is sent as
it is, and not encoded anew. When it is over the stream ends, and whoever connects again gets it from the beginning.
GStreamer's bindings come from Debian and Ubuntu and not from PyPI, so the system's own Python runs this.
"""

import argparse
import contextlib
import sys
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 - their versions are chosen first

PICTURE = 'filesrc location="{file}" ! qtdemux name=tracks tracks. ! queue ! h264parse ! rtph264pay name=pay0 pt=96'
SOUND = " tracks. ! queue ! aacparse ! rtpmp4gpay name=pay1 pt=97"


def main() -> None:
    """Serve the file until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--port", default="8554")
    parser.add_argument("--no-sound", action="store_true", help="leave the sound out, or FILE has none")
    options = parser.parse_args()
    if not options.file.is_file():
        sys.exit(f"{options.file}: expected a video, found no file")
    Gst.init(None)
    server = GstRtspServer.RTSPServer(address="127.0.0.1", service=options.port)
    factory = GstRtspServer.RTSPMediaFactory(shared=True)
    factory.set_launch(f"( {PICTURE.format(file=options.file)}{'' if options.no_sound else SOUND} )")
    server.get_mount_points().add_factory("/live", factory)
    server.attach(None)
    print(f"rtsp://127.0.0.1:{options.port}/live", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        GLib.MainLoop().run()


if __name__ == "__main__":
    main()
