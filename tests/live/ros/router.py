"""A Zenoh router in a process of its own, as `ros2 run rmw_zenoh_cpp rmw_zenohd` starts one: python router.py PORT."""

from __future__ import annotations

import json
import sys

import zenoh

if __name__ == "__main__":
    settings = {
        "mode": "router",
        "listen": {"endpoints": [f"tcp/127.0.0.1:{sys.argv[1]}"]},
        "scouting": {"multicast": {"enabled": False}, "gossip": {"enabled": True}},
        "routing": {"router": {"peers_failover_brokering": True}},
        "timestamping": {"enabled": True},
    }
    with zenoh.open(zenoh.Config.from_json5(json.dumps(settings))):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.read()
