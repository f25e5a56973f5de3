"""What node and analysis have in common: a camera's messages, checked, decoded, joined by stamp and limited in rate.

Without ROS: messages are anything with the fields of their type, those of rclpy or of rosbags. The parameters stand
here, too: they are those of core, features and the node together, and a parameter file holds for both.
"""
