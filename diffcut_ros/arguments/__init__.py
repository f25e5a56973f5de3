"""Command lines, a file for each command: parsed before what takes long is imported, such as PyTorch or ROS."""
