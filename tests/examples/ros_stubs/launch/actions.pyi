from launch import LaunchDescriptionEntity

class DeclareLaunchArgument(LaunchDescriptionEntity):
    def __init__(self, name: str, *, default_value: str | None = ..., description: str | None = ...) -> None: ...
