"""Why a model file could not be fetched."""

from __future__ import annotations


class ModelFetchError(Exception):
    """A file could not be fetched; the text says why and what to change.

    Attributes:
        passing: Whether it may be had a while later.
    """

    def __init__(self, problem: str, *, passing: bool = False) -> None:
        super().__init__(problem)
        self.passing = passing


class RefusedModelError(ModelFetchError):
    """Its address leads where the worker must not reach."""


class TooLargeModelError(ModelFetchError):
    """It has more bytes than allowed."""
