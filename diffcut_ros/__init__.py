"""Zero-shot image segmentation with DiffCut, as a library (core, features) and a ROS 2 node (node)."""
