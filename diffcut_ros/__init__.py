"""Zero-shot image segmentation with DiffCut: a library (core, features), a ROS 2 node (node), recordings (analysis)."""

import sys

# `python -m diffcut_ros.node.demo.camera` and the like: sys.argv is this while Python looks for the module to run. The
# commands do the same, in commands.py.
if sys.argv[:1] == ['-m'] and any(argument.startswith('diffcut_ros.') for argument in sys.orig_argv):
    from diffcut_ros.interruption import end_by_signals

    end_by_signals()
