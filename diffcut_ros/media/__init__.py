"""Pictures in and out, without ROS: photographs, overlays, videos."""
