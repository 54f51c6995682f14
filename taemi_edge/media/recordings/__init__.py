"""Recordings of robots, MCAP files and ROS bags, and which of their topics feed which streams."""
