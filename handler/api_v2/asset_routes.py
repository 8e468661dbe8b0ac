"""Assets: uploads, and the outputs of jobs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict, Field

from handler.api_v2.idempotency import claimed
from handler.api_v2.ids import read_output_id
from handler.api_v2.requests import read_body
from handler.api_v2.state import ApiDep, ApiV2
from handler.api_v2.upload import LONGEST_LIFE, SHORTEST_LIFE, received
from handler.api_v2.views import URL_SECONDS, Views
from handler.assets import Wish
from handler.contract.errors import BlobNotFoundError, NotFoundError
from handler.shelf import FolderShelf

if TYPE_CHECKING:
    from handler.api_v2.records import KnownJob, OutputRecord

router = APIRouter()

# What a browser could run in this server's name is downloaded, never shown.
_SHOWN = ("image/", "video/", "audio/")
IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", max_length=255)]


class FromHash(BaseModel):
    """The body of a request for an asset over bytes that are kept already."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hash: str = Field(min_length=1, max_length=200)
    file_path: str | None = Field(None, min_length=1, max_length=1000)
    tags: list[str] = Field(default_factory=list, max_length=100)
    expires_in: int | None = Field(None, ge=SHORTEST_LIFE, le=LONGEST_LIFE)


@router.post("/assets")
async def upload(request: Request, api: ApiDep, key: IdempotencyKey = None) -> Response:
    """Keep a file."""
    limit = api.settings.asset_max_bytes
    with api.uploading():
        async with received(request, limit) as sent, claimed(api, key):
            asset, is_new = await asyncio.to_thread(
                api.assets.add, sent.file, sent.wish, sent.expected_hash
            )
    if is_new:
        api.uploaded(asset.size_bytes)
    shown = Views(api, request).asset(asset, created_new=is_new)
    return JSONResponse(shown, 201 if is_new else 200)


@router.post("/assets/from-hash")
async def from_hash(request: Request, api: ApiDep) -> Response:
    """Make an asset over bytes that are kept already."""
    body = await read_body(request, api, FromHash)
    wish = Wish(body.file_path, tags=tuple(body.tags), expires_in=body.expires_in)
    asset, is_new = await asyncio.to_thread(api.assets.add_known, body.hash, wish)
    shown = Views(api, request).asset(asset, created_new=False)
    return JSONResponse(shown, 201 if is_new else 200)


@router.get("/assets/by-hash/{hash_}")
async def by_hash(hash_: str, api: ApiDep) -> Response:
    """Say whether bytes are kept."""
    if not await asyncio.to_thread(api.assets.has, hash_):
        raise BlobNotFoundError("No bytes with this hash are kept here.")
    return Response()


@router.get("/assets/{asset_id}")
async def get_asset(asset_id: str, request: Request, api: ApiDep) -> Response:
    """Return what is known of an asset."""
    views = Views(api, request)
    made = await _output(api, asset_id)
    if made is not None:
        return JSONResponse(views.output_asset(*made))
    asset = await asyncio.to_thread(api.assets.get, asset_id)
    return JSONResponse(views.asset(asset))


@router.delete("/assets/{asset_id}", status_code=204)
async def delete_asset(asset_id: str, api: ApiDep) -> Response:
    """Delete an asset; an output goes from its job as well."""
    made = await _output(api, asset_id)
    if made is None:
        await asyncio.to_thread(api.assets.delete, asset_id)
    else:
        await asyncio.to_thread(_delete_output, api, *made)
    return Response(status_code=204)


@router.get("/assets/{asset_id}/content")
async def content(asset_id: str, api: ApiDep) -> Response:
    """Return an asset's bytes, or send the client to where they are."""
    made = await _output(api, asset_id)
    if made is not None:
        output = made[1]
        if output.text is not None:
            headers = _headers(output.content_type, output.name)
            return Response(output.text, media_type=output.content_type, headers=headers)
        key, type_, name = output.key, output.content_type, output.name
    else:
        asset = await asyncio.to_thread(api.assets.get, asset_id)
        key, type_, name = asset.key, asset.content_type, asset.file_path or asset.id
    if not isinstance(api.files, FolderShelf):
        url = await asyncio.to_thread(api.files.url, key, expires_in=URL_SECONDS)
        return RedirectResponse(url, 302, headers={"Cache-Control": "no-store"})
    path = api.files.folder / key
    if not await asyncio.to_thread(path.is_file):
        raise NotFoundError("The bytes of this asset have been deleted.")
    return FileResponse(path, media_type=type_, headers=_headers(type_, name))


def _headers(content_type: str, name: str) -> dict[str, str]:
    shown = content_type.startswith(_SHOWN)
    file_name = quote(name.rpartition("/")[2], safe="")
    how = "inline" if shown else "attachment"
    return {
        "Content-Disposition": f"{how}; filename*=UTF-8''{file_name}",
        "Cache-Control": "private, max-age=86400",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }


async def _output(api: ApiV2, asset_id: str) -> tuple[KnownJob, OutputRecord] | None:
    """Return the output that an asset's id stands for, and its job; ``None`` for an upload's."""
    place = read_output_id(asset_id)
    if place is None:
        return None
    job = await asyncio.to_thread(api.history.find, place[0])
    for output in job.outputs:
        if output.place == place[1]:
            return job, output
    raise NotFoundError("There is no asset with this id.")


def _delete_output(api: ApiV2, job: KnownJob, output: OutputRecord) -> None:
    if output.key:
        api.files.delete(output.key)
    if job.end is not None:
        left = tuple(other for other in job.end.outputs if other != output)
        api.jobs_shelf.replace_end(job.id, job.end.model_copy(update={"outputs": left}))
