#!/usr/bin/env bash
# Installs what an image of packaging/Dockerfile needs from its distribution: system_packages.sh build|run
#   build   Python with its headers, and a compiler: PyCUDA has no wheels
#   run     Python, GStreamer for cameras, sound; and the user that the service runs as
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive

install() { apt-get install -y -q --no-install-recommends "$@"; }

apt-get update -q
case ${1:-} in
  build)
    install python3 python3-venv python3-dev build-essential ca-certificates
    ;;
  run)
    sound=libasound2t64     # its name since Ubuntu 24.04
    apt-cache show "$sound" > /dev/null 2>&1 || sound=libasound2
    install python3 python3-gi gir1.2-gst-plugins-base-1.0 gstreamer1.0-tools gstreamer1.0-plugins-good \
      gstreamer1.0-plugins-bad ca-certificates "$sound"
    groups=()
    for group in video audio; do getent group "$group" > /dev/null && groups+=("$group"); done
    useradd --system --uid 10001 --create-home --home-dir /var/lib/taemi-edge --groups "$(IFS=,; echo "${groups[*]}")" \
      taemi-edge
    ;;
  *)
    echo "system_packages.sh: expected build or run, got '${1:-}'" >&2
    exit 2
    ;;
esac
rm -rf /var/lib/apt/lists/*
