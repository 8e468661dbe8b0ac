"""What an invocation returns: a success with its outputs, or a failure with its error."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.json_schema import SkipJsonSchema

from handler.contract.worker_comfyui import Shape

if TYPE_CHECKING:
    from comfyui_runtime.errors import ServiceError
    from handler.contract.job_id import JobId


# A field with a default is in every response nevertheless, and the schema says so.
_ALWAYS_COMPLETE = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)

_SHAPE: Any = Field("own", exclude=True)

_GIVEN_ID = Field(
    None,
    description="The id as the event or the platform gave it, which job_id stands for; null where "
    "neither gave one.",
)


MAX_TEXT_BYTES = 64 * 1024
"""Bytes of UTF-8 of a text that is in the response; a longer one is a file."""

OutputKind = Literal["image", "video", "audio", "text", "3d", "file"]


class OutputFile(BaseModel):
    """One result that the workflow made: a file, or a text."""

    model_config = _ALWAYS_COMPLETE

    kind: OutputKind = Field("file", description="What it is; file for anything else.")
    url: str | None = Field(
        None, description="Where the file can be fetched; null for inline delivery and texts."
    )
    text: str | None = Field(
        None,
        description="The text itself, of a node that shows one. A text of more than 64 KiB is a "
        "file instead.",
    )
    base64: str | None = Field(None, description="The file's bytes, for inline delivery.")
    key: str | None = Field(
        None, description="The object's key in the bucket, or path in the folder."
    )
    node_id: str = Field(description="The output node of the workflow that made it.")
    filename: str | None = Field(
        None, description="The name that the node gives its file; null where it is not known."
    )
    content_type: str
    width: int | None = Field(description="Pixels; null where there is no picture.")
    height: int | None = Field(description="Pixels; null where there is no picture.")
    duration: float | None = Field(None, description="Seconds, of video and audio.")
    frame_rate: float | None = Field(None, description="Frames per second, of video.")
    sample_rate: int | None = Field(None, description="Samples per second, of sound.")
    bytes: int
    sha256: str
    blake3: SkipJsonSchema[str | None] = Field(None, exclude=True)


class Timings(BaseModel):
    """Seconds by phase."""

    model_config = ConfigDict(frozen=True)

    fetch: float = Field(description="Inputs fetched and decoded.")
    validate_: float = Field(alias="validate", description="Event and graph checked.")
    queue: float = Field(description="Waiting for the device.")
    run: float = Field(description="On the device.")
    encode: float
    store: float
    total: float


class Success(BaseModel):
    """A job that was done."""

    model_config = _ALWAYS_COMPLETE

    status: Literal["succeeded"] = "succeeded"
    job_id: str
    given_id: str | None = _GIVEN_ID
    workflow: str
    workflow_version: str
    seed: int | None = Field(description="The seed used, drawn where the event gave none.")
    outputs: list[OutputFile]
    timings: Timings
    reused: bool = Field(
        description="Whether this is the stored result of an identical earlier request."
    )
    cold_start: bool = Field(description="Whether this was the worker's first job.")
    warnings: list[str] = Field(
        default_factory=list, description="What went wrong without failing the job."
    )
    shape: Shape = _SHAPE

    def shaped(self, shape: Shape) -> Self:
        """Return the response that is answered in a shape."""
        return self if shape == self.shape else self.model_copy(update={"shape": shape})

    def to_json(self) -> dict[str, Any]:
        """Return JSON data, in this project's own shape."""
        return self.model_dump(mode="json", by_alias=True)


class ErrorBody(BaseModel):
    """Why a job failed."""

    model_config = ConfigDict(frozen=True)

    code: str = Field(description="Stable; programs may rely on it.")
    message: str = Field(description="Says what to change.")
    retryable: bool = Field(description="Whether the same event may succeed if sent again.")
    details: dict[str, JsonValue]


class Failure(BaseModel):
    """A job that was not done."""

    model_config = _ALWAYS_COMPLETE

    status: Literal["failed"] = "failed"
    job_id: str
    given_id: str | None = _GIVEN_ID
    error: ErrorBody
    http_status: int = Field(exclude=True)
    replace_worker: bool = Field(default=False, exclude=True)
    shape: Shape = _SHAPE

    def shaped(self, shape: Shape) -> Self:
        """Return the response that is answered in a shape."""
        return self if shape == self.shape else self.model_copy(update={"shape": shape})

    def to_json(self) -> dict[str, Any]:
        """Return JSON data, in this project's own shape."""
        return self.model_dump(mode="json")


Response = Success | Failure


def failure(job_id: JobId, error: ServiceError, *, replace_worker: bool = False) -> Failure:
    """Return the response that reports an error. Never raises, whatever the error carries."""
    return Failure(
        job_id=job_id,
        given_id=_as_json(job_id.given),
        error=ErrorBody(
            code=error.code,
            message=_as_json(error.message),
            retryable=error.retryable,
            details=_as_json(error.details),
        ),
        http_status=error.http_status,
        replace_worker=replace_worker,
    )


def _as_json(value: Any) -> Any:  # noqa: ANN401 - whatever an error was given
    """Return a value with all that JSON in UTF-8 cannot say replaced by text.

    Node packs put what they like into their messages and lists of choices: file names that are no
    Unicode, numbers that are not finite, objects.
    """
    text = json.dumps(value, ensure_ascii=False, default=str)
    return json.loads(text.encode(errors="replace"), parse_constant=str)
