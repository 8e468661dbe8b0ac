"""The platforms that call the HTTP service at addresses of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import APIRouter


def platform_routers() -> tuple[APIRouter, ...]:
    """Return the routes that platforms fix; each does what a route of the service's own does."""
    from handler.platforms import function_compute, kserve, sagemaker, scf

    return (function_compute.router, scf.router, sagemaker.router, kserve.router)
