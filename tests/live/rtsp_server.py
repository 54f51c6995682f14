"""A real RTSP server to break on purpose: gst-rtsp-server, run by Debian's own Python (its bindings are no wheel).

    /usr/bin/python3 rtsp_server.py FILE.mkv PORT [--user NAME --password WORD] [--encode] [--record-to FILE.mkv]

Serves FILE (H.264 and AAC in Matroska) at /live, without encoding it anew unless asked. Reads commands on standard
input, one a line, and answers each with `ok`: `drop video|audio on|off`, `size WxH` and `rate HZ` (with --encode).
With --record-to it also takes in what is pushed to /push, as Matroska. It says `ready` once it listens.
"""

import argparse
import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer

COPIED = """
  ( filesrc location="{file}" ! matroskademux name=tracks
    tracks. ! queue ! h264parse ! valve name=video-valve ! rtph264pay name=pay0 pt=96 config-interval=1
    tracks. ! queue ! aacparse ! valve name=audio-valve ! rtpmp4gpay name=pay1 pt=97 )
"""
ENCODED = """
  ( filesrc location="{file}" ! matroskademux name=tracks
    tracks. ! queue ! h264parse ! avdec_h264 ! videoconvert ! videoscale ! capsfilter name=size
      ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! valve name=video-valve
      ! rtph264pay name=pay0 pt=96 config-interval=-1
    tracks. ! queue ! aacparse ! avdec_aac ! audioconvert ! audioresample ! capsfilter name=rate
      ! audio/x-raw,format=S16BE ! valve name=audio-valve ! rtpL16pay name=pay1 pt=97 )
"""
RECORDED = """
  ( rtph264depay name=depay0 ! h264parse config-interval=-1 ! queue ! matroskamux streamable=true name=mux
      ! filesink location="{file}" sync=false async=false buffer-mode=unbuffered
    rtpmp4gdepay name=depay1 ! aacparse ! queue ! mux. )
"""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("port")
    parser.add_argument("--user")
    parser.add_argument("--password")
    parser.add_argument("--encode", action="store_true")
    parser.add_argument("--record-to")
    arguments = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer(address="127.0.0.1", service=arguments.port)
    playing = {}

    factory = GstRtspServer.RTSPMediaFactory(shared=True, latency=0)
    factory.set_launch((ENCODED if arguments.encode else COPIED).format(file=arguments.file))
    factory.connect("media-configure", lambda _, media: playing.update(media=media))
    server.get_mount_points().add_factory("/live", factory)
    if arguments.user:
        protect(server, factory, arguments.user, arguments.password)
    if arguments.record_to:
        sink = GstRtspServer.RTSPMediaFactory(latency=200)
        sink.set_launch(RECORDED.format(file=arguments.record_to))
        sink.set_transport_mode(GstRtspServer.RTSPTransportMode.RECORD)
        server.get_mount_points().add_factory("/push", sink)
    if not server.attach(None):
        sys.exit(f"cannot listen on port {arguments.port}")
    threading.Thread(target=obey, args=(playing,), daemon=True).start()
    print("ready", flush=True)
    GLib.MainLoop().run()


def protect(server, factory, user, password):
    """Ask for a name and a password (basic)."""
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("user", "media.factory.access", True)
    permissions.add_permission_for_role("user", "media.factory.construct", True)
    factory.set_permissions(permissions)


def obey(playing):
    """Commands on standard input, until it is closed."""
    for line in sys.stdin:
        words = line.split()
        try:
            element = playing["media"].get_element()
            if words[0] == "drop":
                element.get_by_name(f"{words[1]}-valve").set_property("drop", words[2] == "on")
            elif words[0] == "size":
                width, height = words[1].split("x")
                caps = Gst.Caps.from_string(f"video/x-raw,width={width},height={height}")
                element.get_by_name("size").set_property("caps", caps)
            elif words[0] == "rate":
                caps = Gst.Caps.from_string(f"audio/x-raw,rate={words[1]}")
                element.get_by_name("rate").set_property("caps", caps)
            print("ok", flush=True)
        except Exception as error:
            print(f"failed: {error!r}", flush=True)


main()
