"""A ROS 2 node around a model of `taemi-edge`: `node.py` talks to ROS, the other modules do not import it."""
