"""What node packs are after a start, and how two starts differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Iterator


class SeenClass(BaseModel):
    """A node class.

    Attributes:
        defined_in: Its module and its name there, without the place of the packs.
        declares: What it takes and returns, in words that are the same for the same declaration.
    """

    model_config = ConfigDict(frozen=True)

    defined_in: str
    declares: str


class SeenPack(BaseModel):
    """A node pack after a start.

    Attributes:
        seconds: How long its import took at start.
        seconds_later: How long it took when one of its classes was asked for.
        error: Why its import failed, or ``None``.
        classes: By ``class_type``.
        handlers: Its on-prompt handlers, by their names.
        routes: Its routes, each method and path.
    """

    model_config = ConfigDict(frozen=True)

    seconds: float = 0.0
    seconds_later: float = 0.0
    error: str | None = None
    classes: dict[str, SeenClass] = {}
    handlers: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()


class SeenStart(BaseModel):
    """A start.

    Attributes:
        comfyui_version: The release that was started.
        packs: By the names of their folders or files.
    """

    model_config = ConfigDict(frozen=True)

    comfyui_version: str
    packs: dict[str, SeenPack]


class PackComparison(BaseModel):
    """One pack in both starts.

    Attributes:
        differences: In words, each with names; none if the pack is the same in both.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    stock: SeenPack
    ours: SeenPack
    differences: tuple[str, ...]


def compare(stock: SeenStart, ours: SeenStart) -> list[PackComparison]:
    """Compare each pack of two starts, those with differences first."""
    nothing = SeenPack()
    compared = [
        PackComparison(
            name=name,
            stock=stock.packs.get(name, nothing),
            ours=ours.packs.get(name, nothing),
            differences=tuple(
                _differences(stock.packs.get(name, nothing), ours.packs.get(name, nothing))
            ),
        )
        for name in sorted(stock.packs.keys() | ours.packs.keys(), key=str.lower)
    ]
    return sorted(compared, key=lambda pack: not pack.differences)


def _differences(stock: SeenPack, ours: SeenPack) -> Iterator[str]:
    if (stock.error is None) != (ours.error is None):
        yield f"fails here alone: {ours.error}" if ours.error else f"fails in stock: {stock.error}"
    both = sorted(stock.classes.keys() & ours.classes.keys())
    moved = [
        name for name in both if stock.classes[name].defined_in != ours.classes[name].defined_in
    ]
    declared = [
        name for name in both if stock.classes[name].declares != ours.classes[name].declares
    ]
    for words, names in (
        ("classes missing here", sorted(stock.classes.keys() - ours.classes.keys())),
        ("classes that stock lacks", sorted(ours.classes.keys() - stock.classes.keys())),
        ("classes defined elsewhere", moved),
        ("classes that declare something else", declared),
        ("on-prompt handlers missing here", _without(stock.handlers, ours.handlers)),
        ("on-prompt handlers that stock lacks", _without(ours.handlers, stock.handlers)),
        ("routes missing here", _without(stock.routes, ours.routes)),
        ("routes that stock lacks", _without(ours.routes, stock.routes)),
    ):
        if names:
            yield f"{words}: {', '.join(names)}"


def _without(names: tuple[str, ...], others: tuple[str, ...]) -> list[str]:
    left = list(names)
    for name in others:
        if name in left:
            left.remove(name)
    return sorted(left)


def markdown(packs: list[PackComparison]) -> str:
    """Return the packs as a table in Markdown, and below it what differs and what fails."""
    lines = [
        "| pack | classes | here | s in stock | s at start | s on demand | handlers | routes |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    notes = []
    for pack in packs:
        ours, stock = pack.ours, pack.stock
        verdict = "differs" if pack.differences else "the same"
        if ours.error and stock.error:
            verdict = f"{verdict}, fails in both"
            notes.append(f"- {pack.name} fails in stock: {stock.error}")
            notes.append(f"- {pack.name} fails here: {ours.error}")
        notes += [f"- {pack.name}: {difference}" for difference in pack.differences]
        cells = (
            pack.name,
            len(stock.classes),
            verdict,
            f"{stock.seconds:.1f}",
            f"{ours.seconds:.1f}",
            f"{ours.seconds_later:.1f}" if ours.seconds_later else "",
            len(stock.handlers),
            len(stock.routes),
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join([*lines, *(("", *notes) if notes else ())])
