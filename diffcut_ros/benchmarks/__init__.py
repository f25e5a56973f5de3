"""`diffcut_benchmark`: speed, memory and quality, one file for each command, and what they share."""
