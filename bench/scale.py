"""How much to measure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Repetitions and sizes.

    Attributes:
        starts: Cold starts of each kind.
        jobs: Jobs of each kind, one after the other.
        encodings: Pictures encoded in each way.
        overlapped_jobs: Jobs submitted at once.
        hold_seconds: Seconds that each of those takes to fetch, to run, and to store.
        flat_jobs: Jobs in one process, to find what grows.
        model_width: Width of the diffusion models that jobs use in turn; 60 MB each at 1024.
        checkpoint_bytes: Size of the model file that is read.
        simulated_jobs: Jobs of each simulation of an endpoint.
    """

    starts: int = 5
    jobs: int = 100
    encodings: int = 30
    overlapped_jobs: int = 50
    hold_seconds: float = 0.5
    flat_jobs: int = 1000
    model_width: int = 1024
    checkpoint_bytes: int = 2 * 1024**3
    simulated_jobs: int = 1000


FULL = Scale()
QUICK = Scale(
    starts=1,
    jobs=5,
    encodings=2,
    overlapped_jobs=4,
    hold_seconds=0.1,
    flat_jobs=20,
    model_width=128,
    checkpoint_bytes=32 * 1024**2,
    simulated_jobs=100,
)
