"""The one way from an event's image strings to pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpcore

from handler.inputs.decode import decode_image
from handler.inputs.guard import Resolver, resolve_with_system
from handler.inputs.http import HttpReader
from handler.inputs.objects import ObjectReader
from handler.inputs.source import HttpSource, InlineSource, ObjectSource, parse_source
from handler.inputs.time_limit import TimeLimit

if TYPE_CHECKING:
    from comfyui_runtime.run.cancellation import Cancellation
    from comfyui_runtime.workflow.images import PixelImage
    from handler.settings import Settings


class InputFetcher:
    """Turns what callers send into images, within the limits of the settings.

    Safe to use from several threads at once; keeps no connection between fetches.

    Args:
        settings: Limits, allowed hosts and buckets.
        resolve: Finds a host's addresses.
        network: Connects to an address that was found fit.

    Raises:
        ConfigurationError: ``Settings.input_allowed_hosts`` has an entry that is no host.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        resolve: Resolver = resolve_with_system,
        network: httpcore.NetworkBackend | None = None,
    ) -> None:
        self._settings = settings
        self._http = HttpReader(settings, resolve, network or httpcore.SyncBackend())
        self._objects = ObjectReader(settings)

    def fetch(
        self, name: str, source: str, cancellation: Cancellation, max_pixels: int | None = None
    ) -> PixelImage:
        """Get one image.

        Args:
            name: The image's name in the event, for messages.
            source: An http(s) URL, a data URI, base64, or s3://bucket/key.
            cancellation: The job's; looked at several times a second while waiting.
            max_pixels: Most pixels it may have; as many as the settings allow a job, without it.

        Raises:
            InputError: The image cannot be had; the subclass says whose matter it is.
            CancelledError: The job was cancelled.
            DeadlineError: The job's time is up.
        """
        cancellation.check()
        data = self._read(name, source, cancellation)
        cancellation.check()
        if max_pixels is None:
            max_pixels = self._settings.input_max_pixels
        return decode_image(name, data, max_pixels=max_pixels)

    def _read(self, name: str, text: str, cancellation: Cancellation) -> bytes:
        limit = TimeLimit(self._settings.input_timeout, cancellation)
        match parse_source(name, text, max_bytes=self._settings.input_max_bytes):
            case InlineSource(data):
                return data
            case HttpSource(url):
                return self._http.read(name, url, limit)
            case ObjectSource() as source:
                return self._objects.read(name, source, limit)
