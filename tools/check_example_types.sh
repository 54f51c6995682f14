#!/usr/bin/env bash
# Checks the types of each example by itself: several of them have a model.py, which one run of mypy does not take.
set -euo pipefail
cd "$(dirname "$0")/.."
for folder in examples/*/; do
  [ "$folder" != examples/ros2/ ] || continue
  .venv/bin/mypy --no-error-summary "$folder"*.py || failed=1
done
# The ROS 2 package against stubs of ROS: tests/examples/ros_stubs says what it uses of it.
MYPYPATH=examples/ros2:tests/examples/ros_stubs .venv/bin/mypy --no-error-summary \
  examples/ros2/taemi_edge_ros examples/ros2/launch/predict.launch.py || failed=1
exit "${failed:-0}"
