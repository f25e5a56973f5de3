"""Analysis of recordings, without ROS."""
