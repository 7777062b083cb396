"""Where an image is, in words that a person finds it by."""

from __future__ import annotations

from dataclasses import dataclass

from cnn_tuner.data.dataset import Part


@dataclass(frozen=True, order=True)
class Place:
    """An image: the part that it is in, its number there, and its file, "" where it has none."""

    part: str
    number: int
    file: str = ""

    def __str__(self) -> str:
        return self.file or f"{self.part}[{self.number}]"


def place_of(name: str, part: Part, number: int) -> Place:
    """The image with a number in a part."""
    return Place(name, number, "" if part.files is None else str(part.files[number]))
