"""Opens a recording of any kind: an MCAP file, a bag of ROS 2 or of ROS 1."""

from __future__ import annotations

import os
from pathlib import Path

from taemi_edge.errors import InputError
from taemi_edge.media.places import shown_place, what_is_at
from taemi_edge.media.recordings.recording import Recording

#: The endings of recordings that are one file.
ENDINGS = (".mcap", ".db3", ".bag")
#: What makes a folder a bag of ROS 2.
BAG_METADATA = "metadata.yaml"
#: Behind it stands the topic that a stream reads, where a recording is named for one stream.
TOPIC_SIGN = "#"


def is_recording(place: Path | str) -> bool:
    """Whether a path is that of a recording, by its ending; of a folder, by what lies in it.

    >>> is_recording("drive.mcap"), is_recording("drive.mcap#/camera/image_raw"), is_recording("talk.mp4")
    (True, True, False)
    """
    file, _ = split_topic(place)
    return file.suffix.lower() in ENDINGS or os.path.isfile(file / BAG_METADATA)


def split_topic(place: Path | str) -> tuple[Path, str]:
    """The recording and the topic of a place that may name both; the topic is empty where it names none.

    >>> split_topic("drives/7.mcap#/imu/data.linear_acceleration")
    (PosixPath('drives/7.mcap'), '/imu/data.linear_acceleration')
    """
    text = os.fspath(place)
    if os.path.lexists(text) and "\0" not in text:
        return Path(text), ""
    file, sign, topic = text.partition(TOPIC_SIGN)
    return (Path(file), topic) if sign and topic else (Path(text), "")


def open_recording(path: Path) -> Recording:
    """Open a recording; close it, or use it in a `with` statement.

    Args:
        path: an .mcap, .db3 or .bag file, or the folder of a bag.

    Raises:
        InputError: it is not there, or cannot be read.
        MissingExtraError: the extra `recordings` is not installed.

    Example:
        >>> with open_recording(Path("drive.mcap")) as recording:  # doctest: +SKIP
        ...     for message in recording.messages(["/imu/data"]):
        ...         print(message.log_ns, len(message.data))
    """
    from taemi_edge.media.recordings.bag import open_bag
    from taemi_edge.media.recordings.mcap_file import McapFile

    is_folder = os.path.isdir(path)
    if not (is_folder or os.path.isfile(path)):
        raise InputError(f"{shown_place(path)}: expected a recording, found {what_is_at(path)}")
    if not is_folder and path.suffix.lower() == ".mcap":
        return McapFile(path)
    return open_bag(path)
