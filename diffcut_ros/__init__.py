"""Zero-shot image segmentation with DiffCut: a library (core, features), a ROS 2 node (node), recordings (analysis)."""
