"""ROS 2 without ROS: the topics of nodes whose middleware is rmw_zenoh, read and written over Zenoh (extra `zenoh`)."""
