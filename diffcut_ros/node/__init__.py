"""ROS 2 face of the pipeline: the only subpackage that imports rclpy and message packages."""

import os

from diffcut_ros.node.heap import use_one_arena

use_one_arena()  # here, since libraries start threads while they are imported

# Read once, when PyTorch loads OpenMP. By default its threads spin while they wait. On a robot, whose cores have other
# work, that doubles the time of an image: on 2 cores, one of them busy, 290 ms against 138 ms.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
