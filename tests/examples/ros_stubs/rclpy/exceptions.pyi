class ParameterException(Exception): ...  # noqa: N818  (rclpy calls it so)
