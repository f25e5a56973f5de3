"""`diffcut_view`: what a node publishes, in a browser."""
