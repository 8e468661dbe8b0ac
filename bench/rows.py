"""Measurements: rows of a table, as text and as JSON."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SIGNIFICANT = 3


class Spread(BaseModel):
    """Samples of one quantity.

    Attributes:
        median: The median.
        low: The minimum.
        high: The maximum.
        count: The number of samples.
    """

    model_config = ConfigDict(frozen=True)

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        """Return the spread of samples."""
        return cls(
            median=statistics.median(samples),
            low=min(samples),
            high=max(samples),
            count=len(samples),
        )


class Row(BaseModel):
    """One quantity, ours compared with another.

    Attributes:
        group: The measurement it belongs to.
        what: What was measured.
        unit: Its unit.
        ours: Samples of this project.
        other: Samples of what it is compared with.
        compared_with: What that is.
        goal: Target of the ratio, or of ours if there is no ratio.
    """

    model_config = ConfigDict(frozen=True)

    group: str
    what: str
    unit: str
    ours: Spread
    other: Spread | None = None
    compared_with: str = ""
    goal: str = ""

    @property
    def ratio(self) -> float | None:
        """Our median divided by the other."""
        if self.other is None or not self.other.median:
            return None
        return self.ours.median / self.other.median


def markdown_table(rows: Iterable[Row]) -> str:
    """Return the rows as a table in Markdown."""
    lines = [
        "| measured | ours | compared with | ratio | goal |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        other = f"{_text(row.other, row.unit)} ({row.compared_with})" if row.other else ""
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        cells = (f"{row.group}: {row.what}", _text(row.ours, row.unit), other, ratio, row.goal)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _text(spread: Spread, unit: str) -> str:
    text = f"{_number(spread.median)} {unit}".strip()
    if spread.count > 1:
        text += f" [{_number(spread.low)} to {_number(spread.high)}]"
    return text


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10 ** (_SIGNIFICANT - 1) else f"{value:.3g}"
