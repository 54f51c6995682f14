from typing import Any

class Header:
    stamp: Any
    frame_id: str

class String:
    data: str
    def __init__(self, *, data: str = ...) -> None: ...
