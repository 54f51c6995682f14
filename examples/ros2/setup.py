"""Installs the package where ROS 2 looks for it; `colcon build` runs this."""

from setuptools import setup

PACKAGE = "taemi_edge_ros"

setup(
    name=PACKAGE,
    version="0.1.0",
    packages=[PACKAGE],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        (f"share/{PACKAGE}/config", ["config/predict.yaml"]),
        (f"share/{PACKAGE}/launch", ["launch/predict.launch.py"]),
    ],
    install_requires=["setuptools", "taemi-edge[recordings]"],
    zip_safe=True,
    description="Predictions of a multimodal model from topics, any of which may be missing",
    license="Apache-2.0",
    entry_points={"console_scripts": [f"predict = {PACKAGE}.node:main"]},
)
