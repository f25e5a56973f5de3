"""What node and analysis have in common: messages in, checked, decoded, joined by stamp, limited in rate; messages out.

Without ROS: messages are anything with the fields of their type, those of rclpy or of rosbags.
"""
