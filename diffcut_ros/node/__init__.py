"""ROS 2 face of the pipeline: the only subpackage that imports rclpy and message packages."""
