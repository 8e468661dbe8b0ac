"""The platforms that call the HTTP service at addresses of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import APIRouter


def platform_routers() -> tuple[APIRouter, ...]:
    """Return the routes that platforms fix; each does what a route of the service's own does."""
    from handler.platforms import function_compute, kserve, ping, sagemaker, scf

    return (function_compute.router, scf.router, ping.router, sagemaker.router, kserve.router)


def probe_routers() -> tuple[APIRouter, ...]:
    """Return the routes that are also answered on a port for probes alone."""
    from handler.platforms import ping

    return (ping.router,)
