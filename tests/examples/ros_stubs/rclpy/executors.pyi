class ExternalShutdownException(Exception): ...  # noqa: N818 - rclpy calls it so
