"""The function behind HTTP: FastAPI on one port, whatever platform starts the container."""

from handler.http.server import serve

__all__ = ["serve"]
