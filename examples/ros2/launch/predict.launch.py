"""Starts the node: ros2 launch taemi_edge_ros predict.launch.py [params:=FILE] [use_sim_time:=true]."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node


def generate_launch_description() -> LaunchDescription:
    """One node, which is started again when it dies."""
    given = Path(get_package_share_directory("taemi_edge_ros")) / "config" / "predict.yaml"
    return LaunchDescription(
        [
            DeclareLaunchArgument("params", default_value=str(given), description="a file of parameters"),
            DeclareLaunchArgument("use_sim_time", default_value="false", description="whether to follow /clock"),
            Node(
                package="taemi_edge_ros",
                executable="predict",
                name="taemi_edge",
                output="screen",
                respawn=True,
                respawn_delay=1.0,
                parameters=[
                    LaunchConfiguration("params"),
                    {"use_sim_time": LaunchConfiguration("use_sim_time")},
                ],
            ),
        ]
    )
