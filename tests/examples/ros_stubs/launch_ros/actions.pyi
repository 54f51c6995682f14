from collections.abc import Mapping, Sequence

from launch import LaunchDescriptionEntity, Substitution

class Node(LaunchDescriptionEntity):
    def __init__(
        self,
        *,
        executable: str,
        package: str | None = ...,
        name: str | None = ...,
        output: str | None = ...,
        respawn: bool = ...,
        respawn_delay: float | None = ...,
        parameters: Sequence[Substitution | Mapping[str, Substitution]] | None = ...,
    ) -> None: ...
