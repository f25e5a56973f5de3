"""Recordings of ROS 1 and ROS 2: their files, topics and messages; without images."""
