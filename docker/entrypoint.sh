#!/bin/sh
# Launch the node with the arguments of `docker run`.
set -e
. /ws/install/setup.sh
exec ros2 launch diffcut_ros diffcut.launch.py "$@"
