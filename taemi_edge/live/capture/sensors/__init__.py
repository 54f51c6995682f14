"""Sensors as live sources: topics of ROS 2 and MQTT, datagrams and serial lines."""
