"""An invocation event: what a caller may send, and its JSON Schema.

The models here are the public contract. ``parse_event`` is the only way in.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from handler.contract.errors import EventError
from handler.contract.worker_comfyui import (
    MOST_OF_A_FILE_NAME,
    URL_SECONDS,
    Shape,
    WorkerInput,
    input_of,
    shape_of,
)

DEFAULT_IMAGE = "image"
_MOST_PROBLEMS = 20
_MOST_OF_A_NAME = 100
_MOST_PUT_URLS = 100
_LONGEST_PUT_URL = 8192
_KEY = "comfy_org_api_key"


def _scalar(value: object) -> object:
    """Refuse what is none of a union's types as one problem, not as one per type."""
    if not isinstance(value, bool | int | float | str):
        raise PydanticCustomError("scalar", "Input should be true or false, a number or a text")
    if isinstance(value, str) and _readable(value) != value:
        raise PydanticCustomError("scalar", "Input should be a text in Unicode")
    return value


def _workflow(value: object) -> object:
    """Refuse what is neither a name nor a graph as one problem, not as one per type."""
    if isinstance(value, dict) and value:
        return value
    if isinstance(value, str) and 0 < len(value) <= _MOST_OF_A_NAME:
        return value
    raise PydanticCustomError(
        "workflow",
        "Input should be the name of a workflow (1 to {most} characters) or a graph",
        {"most": _MOST_OF_A_NAME},
    )


def _whole(value: object) -> object:
    """Take 40.0 for 40: JSON has one kind of number, and JSON Schema calls both integers."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_Integer = Annotated[int, BeforeValidator(_whole)]


def _address_or_none(value: object) -> object:
    return value if isinstance(value, str) and value else None


ParamValue = Annotated[bool | int | float | str, BeforeValidator(_scalar)]
# RunPod's field; what another platform may put there is ignored.
PlatformWebhook = Annotated[str | None, BeforeValidator(_address_or_none)]
Name = Annotated[str, Field(min_length=1, max_length=_MOST_OF_A_NAME)]
# Of a graph in the event, inputs have the names of files.
InputName = Annotated[str, Field(min_length=1, max_length=MOST_OF_A_FILE_NAME)]
PutUrl = Annotated[
    str, Field(min_length=1, max_length=_LONGEST_PUT_URL, pattern="^[hH][tT][tT][pP][sS]?://")
]
GraphData = dict[str, Any]
WorkflowOrGraph = Annotated[
    str | GraphData,
    BeforeValidator(_workflow),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1, "maxLength": _MOST_OF_A_NAME},
                {"type": "object", "minProperties": 1},
            ]
        }
    ),
]


class _Strict(BaseModel):
    # Errors are logged with what caused them, and an input may be a person's photo.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


WebhookEvent = Literal["done", "progress"]


def _one_at_least(events: tuple[WebhookEvent, ...]) -> tuple[WebhookEvent, ...]:
    # Not as a length: that would be a second problem where an event is not known.
    if not events:
        raise PydanticCustomError("events", "name one event at least: done, progress or both")
    return events


class Webhook(_Strict):
    """Where to send word of a job, by Standard Webhooks."""

    url: str = Field(
        min_length=1, max_length=2_000, description="An http(s) address; no redirect is followed."
    )
    events: Annotated[tuple[WebhookEvent, ...], AfterValidator(_one_at_least)] = Field(
        ("done",),
        max_length=2,
        strict=False,
        description="What to send word of: the job's end, and its progress.",
        json_schema_extra={"minItems": 1},
    )


class Output(_Strict):
    """How the result is encoded, and how it is handed over."""

    format: Literal["png", "webp", "jpeg"] = Field("png", description="Image format of the result.")
    quality: _Integer = Field(
        90, ge=1, le=100, description="Quality of jpeg and webp; 100 makes webp lossless."
    )
    delivery: Literal["url", "base64"] = Field(
        "url", description="A URL in the worker's storage, or the bytes in the response."
    )
    url: Literal["presigned", "public"] = Field(
        "presigned", description="A signed URL that expires, or the object's public address."
    )
    expires_in: _Integer = Field(
        86_400,
        ge=60,
        le=604_800,
        description="Seconds that a presigned URL is valid (S3's limit is seven days).",
    )
    prefix: str = Field(
        "",
        max_length=200,
        pattern=r"^(?:[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*)?$",
        description="Folder put before the result's key, such as customer-7/avatars.",
    )
    reuse: bool = Field(
        False,
        description="Answer from the stored result of an identical earlier request that also said "
        "so, without another run. Needs a given seed.",
    )
    embed_workflow: bool = Field(
        False, description="Keep the graph in the PNG's metadata, as ComfyUI does (PNG only)."
    )
    webhook: Webhook | None = Field(
        None,
        description="Where to send signed word of the job; needs the setting WEBHOOK_SECRET.",
    )

    put_urls: tuple[PutUrl, ...] = Field(
        (),
        max_length=_MOST_PUT_URLS,
        strict=False,  # JSON has no tuples
        repr=False,
        description="Addresses, such as presigned ones, that the files are sent to by PUT, in the "
        "order of the response's outputs without the texts, in place of the worker's storage.",
    )

    @model_validator(mode="after")
    def _one_place_for_the_result(self) -> Output:
        if self.put_urls and self.delivery == "base64":
            raise PydanticCustomError(
                "two_places", "give put_urls or the delivery base64, not both"
            )
        if self.put_urls and self.reuse:
            raise PydanticCustomError(
                "reuse_elsewhere", "reuse finds results in the worker's storage: not with put_urls"
            )
        return self

    @property
    def url_seconds(self) -> int | None:
        """Seconds that the result's URL is to be valid; ``None`` for the public one."""
        return None if self.url == "public" else self.expires_in


class JobInput(_Strict):
    """The ``input`` of an event."""

    workflow: WorkflowOrGraph = Field(
        description="Name of an installed workflow, or, where CALLER_GRAPHS is on, a graph in "
        "ComfyUI's API format or as its editor saves it."
    )
    image: str | None = Field(
        None,
        min_length=1,
        description="The photo: http(s) URL, data URI, bare base64, or s3://bucket/key.",
    )
    images: dict[InputName, Annotated[str, Field(min_length=1)]] = Field(
        default_factory=dict,
        description="Named images, for workflows that take more than one; of a graph, by the file "
        "names that its nodes load.",
    )
    files: dict[InputName, Annotated[str, Field(min_length=1)]] = Field(
        default_factory=dict,
        description="Named videos, sounds and other files, for workflows that take some; of a "
        "graph, by the file names that its nodes load.",
    )
    params: dict[Name, ParamValue] = Field(
        default_factory=dict,
        description="The workflow's parameters; see `python -m handler workflows`.",
    )
    output: Output = Field(default_factory=Output)
    comfy_org_api_key: SecretStr | None = Field(
        None, description="Key of Comfy.org for nodes that call paid services; never logged."
    )

    @model_validator(mode="after")
    def _one_way_to_give_the_image(self) -> JobInput:
        if self.image is not None and DEFAULT_IMAGE in self.images:
            raise PydanticCustomError(
                "image_twice",
                "give the photo as image or as images.{name}, not as both",
                {"name": DEFAULT_IMAGE},
            )
        return self

    @property
    def named_images(self) -> dict[str, str]:
        """Every image by its name; the single ``image`` is named "image"."""
        single = {} if self.image is None else {DEFAULT_IMAGE: self.image}
        return single | self.images


class Event(_Strict):
    """An invocation event. Platforms add fields of their own beside ``input``; they are ignored."""

    model_config = ConfigDict(extra="ignore")

    id: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="The job's id; made up where the platform gives none.",
    )
    input: JobInput
    webhook: PlatformWebhook = Field(
        None,
        description="Short for output.webhook, where events written for RunPod have it; ignored "
        "without WEBHOOK_SECRET.",
    )
    _shape: Shape = PrivateAttr("own")

    @property
    def shape(self) -> Shape:
        """Whose contract the event follows."""
        return self._shape


class _WorkerEvent(_Strict):
    """An event of worker-comfyui's; see :mod:`handler.contract.worker_comfyui`."""

    model_config = ConfigDict(extra="ignore")

    id: str | None = Field(None, min_length=1, max_length=200)
    input: WorkerInput
    webhook: PlatformWebhook = None

    def to_event(self, *, has_bucket: bool) -> Event:
        """Return the event in this project's terms."""
        output = Output(
            delivery="url" if has_bucket else "base64",
            expires_in=URL_SECONDS,
            embed_workflow=True,
        )
        job_input = JobInput(
            workflow=self.input.workflow,
            images=self.input.named_images,
            output=output,
            comfy_org_api_key=self.input.comfy_org_api_key,
        )
        event = Event(id=self.id, input=job_input, webhook=self.webhook)
        event._shape = "worker-comfyui"  # noqa: SLF001 - of a class of this module
        return event


def without_secrets(event: object) -> object:
    """Return an event that may be written down: without the caller's key."""
    given = input_of(event)
    if not (isinstance(event, dict) and isinstance(given, dict) and _KEY in given):
        return event
    return {**event, "input": {name: value for name, value in given.items() if name != _KEY}}


def parse_event(event: object, *, has_bucket: bool = False) -> Event:
    """Validate an event, of this project's contract or of worker-comfyui's.

    Args:
        event: Decoded JSON.
        has_bucket: Whether there is a bucket: events of worker-comfyui's do not say how their
            results are handed over.

    Raises:
        EventError: The event is not of the documented shape; ``details["problems"]`` lists each
            field and what is wrong with it. Values are not repeated: they may be images.
    """
    try:
        if isinstance(event, dict) and isinstance(event.get("input"), str):
            event = {**event, "input": input_of(event)}
        if shape_of(event) == "worker-comfyui":
            return _WorkerEvent.model_validate(event).to_event(has_bucket=has_bucket)
        return Event.model_validate(event)
    except ValidationError as error:
        problems = [
            {
                "field": _field(problem["loc"]),
                "problem": problem["msg"],
            }
            for problem in error.errors(
                include_url=False, include_input=False, include_context=False
            )
        ]
        shown = problems[:_MOST_PROBLEMS]
        text = "; ".join(f"{problem['field']}: {problem['problem']}" for problem in shown)
        if len(problems) > len(shown):
            text += f"; and {len(problems) - len(shown)} more"
        raise EventError(
            f"The event is not valid: {text}. `python -m handler schema` prints what is.",
            problems=shown,  # type: ignore[arg-type]
        ) from error


def _field(place: tuple[int | str, ...]) -> str:
    return ".".join(_readable(str(part))[:_MOST_OF_A_NAME] for part in place) or "event"


def _readable(text: str) -> str:
    """Return a text that can be written out: JSON may hold halves of surrogate pairs."""
    return text.encode(errors="backslashreplace").decode()
