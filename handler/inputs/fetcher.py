"""The one way from an event's strings to pixels and files."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO

import httpcore

from handler.contract.errors import InputTooLargeError, MissingAssetError
from handler.inputs.decode import decode_image
from handler.inputs.guard import Resolver, resolve_with_system
from handler.inputs.http import HttpReader
from handler.inputs.job_files import FilesFolder, JobFiles
from handler.inputs.objects import ObjectReader
from handler.inputs.source import (
    AssetSource,
    HttpSource,
    InlineSource,
    ObjectSource,
    parse_source,
)
from handler.inputs.time_limit import TimeLimit
from handler.inputs.wanted import Wanted

if TYPE_CHECKING:
    from comfyui_runtime.run.cancellation import Cancellation
    from comfyui_runtime.workflow.images import PixelImage
    from handler.assets import AssetStore
    from handler.settings import Settings


class InputFetcher:
    """Turns what callers send into images and files, within the limits of the settings.

    Safe to use from several threads at once; keeps no connection between fetches.

    Args:
        settings: Limits, allowed hosts and buckets.
        resolve: Finds a host's addresses.
        network: Connects to an address that was found fit.
        assets: What ``asset:`` addresses name; ``None`` for nothing.

    Raises:
        ConfigurationError: ``Settings.input_allowed_hosts`` has an entry that is no host.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        resolve: Resolver = resolve_with_system,
        network: httpcore.NetworkBackend | None = None,
        assets: AssetStore | None = None,
    ) -> None:
        self._settings = settings
        self._http = HttpReader(settings, resolve, network or httpcore.SyncBackend())
        self._objects = ObjectReader(settings)
        self._folder = FilesFolder()
        self._assets = assets

    def fetch(
        self, name: str, source: str, cancellation: Cancellation, max_pixels: int | None = None
    ) -> PixelImage:
        """Get one image.

        Args:
            name: The image's name in the event, for messages.
            source: An http(s) URL, a data URI, base64, s3://bucket/key, or asset:id.
            cancellation: The job's; looked at several times a second while waiting.
            max_pixels: Most pixels it may have; as many as the settings allow a job, without it.

        Raises:
            InputError: The image cannot be had; the subclass says whose matter it is.
            CancelledError: The job was cancelled.
            DeadlineError: The job's time is up.
        """
        cancellation.check()
        file = io.BytesIO()
        wanted = Wanted(name, self._settings.input_max_bytes)
        self._read(wanted, source, TimeLimit(self._settings.input_timeout, cancellation), file)
        cancellation.check()
        if max_pixels is None:
            max_pixels = self._settings.input_max_pixels
        return decode_image(name, file.getvalue(), max_pixels=max_pixels)

    def job_files(self) -> JobFiles:
        """Return what fetches the files of one job, and removes them at its end."""
        return JobFiles(self._settings, self._read, self._folder)

    def _read(self, wanted: Wanted, text: str, limit: TimeLimit, sink: BinaryIO) -> None:
        match parse_source(wanted, text):
            case InlineSource(data):
                sink.write(data)
            case HttpSource(url):
                self._http.read(wanted, url, limit, sink)
            case ObjectSource() as source:
                self._objects.read(wanted, source, limit, sink)
            case AssetSource(asset_id):
                self._read_asset(wanted, asset_id, sink)

    def _read_asset(self, wanted: Wanted, asset_id: str, sink: BinaryIO) -> None:
        asset = None if self._assets is None else self._assets.find(asset_id)
        if asset is not None and asset.size_bytes > wanted.max_bytes:
            raise InputTooLargeError(
                f"{wanted}: the asset has {asset.size_bytes} bytes; at most {wanted.max_bytes} are "
                f"allowed. Use a smaller file, or raise {wanted.size_setting}.",
                **wanted.details,
                max_bytes=wanted.max_bytes,
            )
        if self._assets is None or asset is None or not self._assets.copy(asset, sink):
            raise MissingAssetError(
                f"{wanted}: there is no such asset any more. Upload the file again.",
                **wanted.details,
            )
