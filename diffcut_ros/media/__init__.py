"""Pictures in and out, without ROS: photographs to look at, overlays for people."""
