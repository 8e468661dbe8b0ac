"""What is to be fetched: its name, for messages, and how large it may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pydantic import JsonValue


@dataclass(frozen=True)
class Wanted:
    """An input that an event gives. As a text it is how messages begin, such as: Image 'photo'.

    Attributes:
        name: Its name in the event.
        max_bytes: Most bytes that it may have.
        kind: Which of the event's tables it is in.
    """

    name: str
    max_bytes: int
    kind: Literal["image", "file"] = "image"

    def __str__(self) -> str:
        return f"{self.kind.capitalize()} {self.name!r}"

    @property
    def details(self) -> dict[str, JsonValue]:
        """Its name, as errors have it in their details."""
        return {self.kind: self.name}

    @property
    def size_setting(self) -> str:
        """The setting behind ``max_bytes``."""
        return "INPUT_MAX_BYTES" if self.kind == "image" else "INPUT_FILE_MAX_BYTES"

    @property
    def time_setting(self) -> str:
        """The setting behind the time that the fetch has."""
        return "INPUT_TIMEOUT_SECONDS" if self.kind == "image" else "INPUT_FILE_TIMEOUT_SECONDS"

    @property
    def accepted(self) -> str:
        """The media types to ask a server for."""
        return "image/*, */*;q=0.1" if self.kind == "image" else "*/*"
