"""The one settings object, read from the environment once, at start."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from handler.contract.errors import ConfigurationError
from handler.contract.webhook_signature import keys_of

_PACKAGE_DIR = Path(__file__).resolve().parent
# The checkout; of an installed package, the folder of all packages, where nothing is to be kept.
PROJECT_DIR = _PACKAGE_DIR.parent
# Only the wheel has this folder; see package-dir in pyproject.toml.
_PACKED_WORKFLOWS = _PACKAGE_DIR / "bundled_workflows"
_INSTALLED = _PACKED_WORKFLOWS.is_dir()
_WORKFLOWS_DIR = _PACKED_WORKFLOWS if _INSTALLED else PROJECT_DIR / "workflows"
_DATA_DIR = Path.cwd() if _INSTALLED else PROJECT_DIR
_EVERYWHERE = "0.0.0.0"  # noqa: S104 - a container's network is its own


def _env(*names: str) -> AliasChoices:
    return AliasChoices(*names)


class Settings(BaseSettings):
    """Everything the environment may say. Each field names its variables and its unit."""

    model_config = SettingsConfigDict(
        env_file=".env",
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        env_ignore_empty=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        # Fields are read by their aliases alone: with a prefix that no variable's name can have, a
        # variable DEVICE of someone else's is not taken for the field of that name.
        env_prefix="=",
        use_attribute_docstrings=True,
    )

    # ComfyUI
    comfyui_dir: Path = Field(
        _DATA_DIR / ".comfyui" / "src" / "ComfyUI", validation_alias=_env("COMFYUI_DIR")
    )
    """ComfyUI's source, the folder with its main.py."""
    comfyui_base_dir: Path = Field(
        _DATA_DIR / ".comfyui" / "base", validation_alias=_env("COMFYUI_BASE_DIR")
    )
    """Folder with models/ and custom_nodes/."""
    model_dirs: Annotated[tuple[Path, ...], NoDecode] = Field(
        (Path("/runpod-volume/models"),), validation_alias=_env("COMFYUI_MODEL_DIRS")
    )
    """Further models folders, comma separated, such as one on a network volume."""
    node_dirs: Annotated[tuple[Path, ...] | None, NoDecode] = Field(
        None, validation_alias=_env("COMFYUI_NODE_DIRS")
    )
    """Further folders with node packs, comma separated; else custom_nodes/ beside each of those."""
    workflows_dir: Path = Field(_WORKFLOWS_DIR, validation_alias=_env("WORKFLOWS_DIR"))
    """Folder with one folder per workflow."""
    device: Literal["cuda", "cpu"] = Field("cuda", validation_alias=_env("COMFYUI_DEVICE"))
    """cuda stops the start where no GPU is visible; cpu uses none."""
    vram_mode: Literal["auto", "high", "normal", "low", "none"] = Field(
        "auto", validation_alias=_env("COMFYUI_VRAM_MODE")
    )
    """How much of the models stays in VRAM; auto lets ComfyUI decide."""
    cache_lru: int = Field(0, ge=0, validation_alias=_env("COMFYUI_CACHE_LRU"))
    """Node outputs kept from job to job, counted in nodes; 0 keeps those of the last graph."""
    cache_models: bool = Field(True, validation_alias=_env("COMFYUI_CACHE_MODELS"))
    """Whether models stay loaded for later jobs with other workflows, while memory allows."""
    cache_ram_headroom: float | None = Field(
        None, ge=0, validation_alias=_env("COMFYUI_CACHE_RAM_HEADROOM_GIB")
    )
    """GiB of RAM that kept models leave free; if unset, a tenth of all of it, 2 to 10."""
    comfyui_args: str = Field("", validation_alias=_env("COMFYUI_ARGS"))
    """Further options of ComfyUI's command line, such as --fp32-vae."""
    api_nodes: bool | None = Field(None, validation_alias=_env("COMFYUI_API_NODES"))
    """Whether to load nodes that call paid services; if unset, where events may bring graphs."""
    comfy_org_api_key: SecretStr | None = Field(None, validation_alias=_env("COMFY_ORG_API_KEY"))
    """Key of Comfy.org for those nodes, which has them loaded; an event may bring its own."""
    lazy: bool = Field(True, validation_alias=_env("COMFYUI_LAZY"))
    """Whether node files, packs and large modules are imported when a graph first needs them."""
    eager_packs: Annotated[frozenset[str], NoDecode] = Field(
        frozenset(), validation_alias=_env("COMFYUI_EAGER_PACKS")
    )
    """Node packs (names of their folders, comma separated) that are imported at start even so."""
    previews: bool | None = Field(None, validation_alias=_env("COMFYUI_PREVIEWS"))
    """Whether samplers make a preview picture per step; if unset, only the HTTP server's do."""
    comfyui_server_url: str | None = Field(
        None, pattern=r"^https?://", validation_alias=_env("COMFYUI_SERVER_URL")
    )
    """Address of a ComfyUI server that runs the graphs instead, for development."""
    warm_up_workflows: Annotated[tuple[str, ...], NoDecode] = Field(
        (), validation_alias=_env("WARM_UP_WORKFLOWS")
    )
    """Workflows (comma separated) that run once before the first job, to load their models."""

    # Models fetched at run time
    fetch_models: Literal["off", "start"] = Field("off", validation_alias=_env("FETCH_MODELS"))
    """Whether the start fetches the models that workflows need and no models folder has."""
    fetch_workflows: Annotated[tuple[str, ...], NoDecode] = Field(
        (), validation_alias=_env("FETCH_WORKFLOWS")
    )
    """Workflows (comma separated) whose models are fetched; without any, all that are installed."""
    models_list: Path = Field(_DATA_DIR / "models.txt", validation_alias=_env("MODELS_LIST"))
    """List of where models are published; a models.lock beside it has further checksums."""
    models_fetch_dir: Path | None = Field(None, validation_alias=_env("MODELS_FETCH_DIR"))
    """Models folder to fetch to; else the first of COMFYUI_MODEL_DIRS on a volume that is there."""
    models_fetch_timeout: float = Field(
        3600.0, gt=0, validation_alias=_env("MODELS_FETCH_TIMEOUT_SECONDS")
    )
    """Seconds for fetching one, the wait for another worker that does it included."""
    hub_cache_dir: Path = Field(
        Path("/runpod-volume/huggingface-cache/hub"), validation_alias=_env("HF_HUB_CACHE")
    )
    """Hugging Face's cache, looked in before a model is fetched; RunPod's is the default."""
    hf_token: SecretStr | None = Field(None, validation_alias=_env("HF_TOKEN"))
    """Token of Hugging Face for models that want one; sent to huggingface.co only."""
    civitai_token: SecretStr | None = Field(None, validation_alias=_env("CIVITAI_TOKEN"))
    """Token of Civitai for models that want one; sent to civitai.com only."""
    model_url_hosts: Annotated[frozenset[str], NoDecode] = Field(
        frozenset(), validation_alias=_env("MODEL_URL_HOSTS")
    )
    """Hosts (comma separated) that events may name models of by https URL; without any, none."""
    model_url_max_bytes: int = Field(
        8 * 1024**3, gt=0, validation_alias=_env("MODEL_URL_MAX_BYTES")
    )
    """Bytes of a model that an event names by URL."""
    model_url_timeout: float = Field(
        300.0, gt=0, validation_alias=_env("MODEL_URL_TIMEOUT_SECONDS")
    )
    """Seconds for fetching one of these."""
    model_url_cache_dir: Path | None = Field(None, validation_alias=_env("MODEL_URL_CACHE_DIR"))
    """Folder that keeps them for later jobs; else models-by-url beside where models are fetched."""
    model_url_cache_max_bytes: int = Field(
        50 * 1024**3, gt=0, validation_alias=_env("MODEL_URL_CACHE_MAX_BYTES")
    )
    """Most bytes kept there; beyond it those go that were not used for longest."""

    # Jobs
    job_timeout: float = Field(600.0, gt=0, validation_alias=_env("JOB_TIMEOUT_SECONDS"))
    """Seconds of work on a job; its wait for the device does not count."""
    concurrency: int = Field(4, ge=1, le=32, validation_alias=_env("WORKER_CONCURRENCY"))
    """Most jobs under way at once; one is on the device, the others fetch and store."""
    queue_limit: int = Field(64, ge=0, validation_alias=_env("QUEUE_LIMIT"))
    """Jobs that may wait beyond those under way before the service answers 429."""
    queue_max_bytes: int = Field(256 * 1024 * 1024, gt=0, validation_alias=_env("QUEUE_MAX_BYTES"))
    """Bytes of the requests of jobs that wait, their photos included, before the answer is 429."""
    stop_grace: float = Field(30.0, gt=0, validation_alias=_env("STOP_GRACE_SECONDS"))
    """Seconds that a node has to stop when told to, before the worker is replaced."""

    # Graphs of callers
    caller_graphs: Literal["off", "on"] | None = Field(None, validation_alias=_env("CALLER_GRAPHS"))
    """Whether events may bring a graph; if unset, on for RunPod and where API_TOKEN is set."""
    caller_graph_allow: Annotated[tuple[str, ...], NoDecode] = Field(
        ("*",), validation_alias=_env("CALLER_GRAPH_ALLOW")
    )
    """Node classes (patterns, comma separated) for them; a class named in full is never refused."""
    caller_graph_deny: Annotated[tuple[str, ...], NoDecode] = Field(
        (), validation_alias=_env("CALLER_GRAPH_DENY")
    )
    """Node classes (patterns, comma separated) that they may not have; it wins over the former."""

    # Inputs
    input_max_bytes: int = Field(32 * 1024 * 1024, gt=0, validation_alias=_env("INPUT_MAX_BYTES"))
    """Bytes of an input image, as sent."""
    input_max_pixels: int = Field(50_000_000, gt=0, validation_alias=_env("INPUT_MAX_PIXELS"))
    """Pixels of a job's input images together, read off their headers before they are decoded."""
    input_timeout: float = Field(30.0, gt=0, validation_alias=_env("INPUT_TIMEOUT_SECONDS"))
    """Seconds for fetching one image, redirects and retries included."""
    input_file_max_bytes: int = Field(
        256 * 1024 * 1024, gt=0, validation_alias=_env("INPUT_FILE_MAX_BYTES")
    )
    """Bytes of a job's input videos, sounds and other files together."""
    input_file_timeout: float = Field(
        120.0, gt=0, validation_alias=_env("INPUT_FILE_TIMEOUT_SECONDS")
    )
    """Seconds for fetching one of these files and looking through it."""
    input_max_seconds: float = Field(600.0, gt=0, validation_alias=_env("INPUT_MAX_SECONDS"))
    """Seconds that an input video or sound may last."""
    input_max_video_pixels: int = Field(
        10_000_000_000, gt=0, validation_alias=_env("INPUT_MAX_VIDEO_PIXELS")
    )
    """Pixels of all frames of an input video; INPUT_MAX_PIXELS holds for one frame."""
    input_max_redirects: int = Field(3, ge=0, validation_alias=_env("INPUT_MAX_REDIRECTS"))
    """Redirects followed for one input."""
    input_allowed_hosts: Annotated[frozenset[str], NoDecode] = Field(
        frozenset(), validation_alias=_env("INPUT_ALLOWED_HOSTS")
    )
    """Hosts (host or host:port, comma separated) that may be in private networks."""

    # Webhooks
    webhook_secret: SecretStr | None = Field(None, validation_alias=_env("WEBHOOK_SECRET"))
    """Key that signs webhooks, whsec_ and base64; several with spaces between. Without it, none."""
    webhook_allowed_hosts: Annotated[frozenset[str], NoDecode] = Field(
        frozenset(), validation_alias=_env("WEBHOOK_ALLOWED_HOSTS")
    )
    """Hosts (host or host:port, comma separated) that may be in private networks."""
    webhook_timeout: float = Field(15.0, gt=0, validation_alias=_env("WEBHOOK_TIMEOUT_SECONDS"))
    """Seconds that a receiver has to answer."""
    webhook_attempts: int = Field(10, ge=1, validation_alias=_env("WEBHOOK_ATTEMPTS"))
    """Tries of a webhook of a job's end, the first one included."""
    webhook_max_age: float = Field(86_400.0, gt=0, validation_alias=_env("WEBHOOK_MAX_AGE_SECONDS"))
    """Seconds after the job's end in which it is tried."""

    # Storage. AWS's own key variables are read by boto3, as the set that they are.
    bucket_endpoint_url: str | None = Field(
        None,
        validation_alias=_env("BUCKET_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    )
    """Address of the S3-compatible storage; AWS itself needs none."""
    bucket_access_key_id: str | None = Field(None, validation_alias=_env("BUCKET_ACCESS_KEY_ID"))
    """Key of the bucket; without it boto3 looks where it always does (AWS_*, roles)."""
    bucket_secret_access_key: SecretStr | None = Field(
        None, validation_alias=_env("BUCKET_SECRET_ACCESS_KEY")
    )
    """Secret of the bucket's key."""
    bucket_session_token: SecretStr | None = Field(
        None, validation_alias=_env("BUCKET_SESSION_TOKEN")
    )
    """Token of temporary keys."""
    bucket_region: str | None = Field(
        None, validation_alias=_env("BUCKET_REGION", "AWS_REGION", "AWS_DEFAULT_REGION")
    )
    """Region of the bucket."""
    bucket_name: str | None = Field(None, validation_alias=_env("BUCKET_NAME", "S3_BUCKET"))
    """Bucket for the results; without one they go to RESULTS_DIR."""
    bucket_addressing: Literal["auto", "path", "virtual"] = Field(
        "auto", validation_alias=_env("BUCKET_ADDRESSING")
    )
    """Whether the bucket is named in the host or in the path of an address."""
    bucket_prefix: str = Field("", validation_alias=_env("BUCKET_PREFIX"))
    """Folder in the bucket that every key starts with."""
    bucket_public_url: str | None = Field(None, validation_alias=_env("BUCKET_PUBLIC_URL"))
    """Address under which the bucket is public, for results asked for as public URLs."""
    bucket_timeout: float = Field(60.0, gt=0, validation_alias=_env("BUCKET_TIMEOUT_SECONDS"))
    """Seconds for connecting to the storage, and for each answer."""
    bucket_attempts: int = Field(4, ge=1, validation_alias=_env("BUCKET_ATTEMPTS"))
    """Tries of an upload, the first one included."""
    put_timeout: float = Field(300.0, gt=0, validation_alias=_env("PUT_TIMEOUT_SECONDS"))
    """Seconds for sending one result to an address that the event gives, all tries together."""
    cache_control: str = Field(
        "private, max-age=86400", validation_alias=_env("RESULT_CACHE_CONTROL")
    )
    """Cache-Control of stored results."""
    input_buckets: Annotated[frozenset[str], NoDecode] = Field(
        frozenset(), validation_alias=_env("INPUT_BUCKETS")
    )
    """Buckets that callers' s3:// inputs are read from (comma separated); without it, none."""
    results_dir: Path = Field(_DATA_DIR / "results", validation_alias=_env("RESULTS_DIR"))
    """Folder for results where no bucket is set."""
    kept_results_dir: Path | None = Field(None, validation_alias=_env("KEPT_RESULTS_DIR"))
    """Folder for results whose upload failed; else RunPod's volume, else RESULTS_DIR/.unsent."""
    kept_results_max_bytes: int = Field(
        10 * 1024**3, gt=0, validation_alias=_env("KEPT_RESULTS_MAX_BYTES")
    )
    """Most bytes kept there; beyond it the oldest go."""

    # HTTP server
    host: str | None = Field(None, validation_alias=_env("HOST"))
    """Address that the HTTP server listens on; else 0.0.0.0 in a container, 127.0.0.1 elsewhere."""
    port: int = Field(8000, ge=1, le=65_535, validation_alias=_env("PORT"))
    """Port that the HTTP server listens on."""
    health_port: int | None = Field(None, ge=1, le=65_535, validation_alias=_env("PORT_HEALTH"))
    """Port of /ping where it is another; set by RunPod, whose /ping is 204 during the start."""
    api_token: SecretStr | None = Field(None, min_length=8, validation_alias=_env("API_TOKEN"))
    """Bearer token that HTTP requests need; without one, anyone who reaches the port may call."""
    allowed_hosts: Annotated[frozenset[str], NoDecode] = Field(
        frozenset(), validation_alias=_env("ALLOWED_HOSTS")
    )
    """Names (comma separated, *.example.com or *) that a server without a token is called by."""
    public_url: str | None = Field(
        None, pattern=r"^https?://[^?#]+$", validation_alias=_env("PUBLIC_URL")
    )
    """Address of the HTTP server in results' URLs; without one, that of each request."""
    cors_origins: Annotated[frozenset[str], NoDecode] = Field(
        frozenset(), validation_alias=_env("CORS_ORIGINS")
    )
    """Origins whose pages may call the HTTP server (comma separated, or *)."""
    request_max_bytes: int = Field(
        64 * 1024 * 1024, gt=0, validation_alias=_env("REQUEST_MAX_BYTES")
    )
    """Bytes of an HTTP request's body; base64 makes a photo a third larger."""
    requests_max_bytes: int = Field(
        256 * 1024 * 1024, gt=0, validation_alias=_env("REQUESTS_MAX_BYTES")
    )
    """Bytes of all bodies being read, before the answer is 429."""
    boot_timeout: float = Field(600.0, gt=0, validation_alias=_env("BOOT_TIMEOUT_SECONDS"))
    """Seconds that an HTTP request waits for ComfyUI's start before it is answered 503."""
    shutdown_grace: float = Field(20.0, ge=0, validation_alias=_env("SHUTDOWN_GRACE_SECONDS"))
    """Seconds that running jobs have to end after SIGTERM before they are handed back."""
    ready_workflows: Annotated[frozenset[str], NoDecode] = Field(
        frozenset(), validation_alias=_env("READY_WORKFLOWS")
    )
    """Workflows (comma separated) that must be able to run for /ready; without any, one must."""
    jobs_kept: int = Field(1000, ge=0, validation_alias=_env("JOBS_KEPT"))
    """Finished jobs whose response can be asked for."""
    jobs_kept_seconds: float = Field(3600.0, ge=0, validation_alias=_env("JOBS_KEPT_SECONDS"))
    """Seconds that a finished job's response can be asked for."""
    jobs_kept_max_bytes: int = Field(
        256 * 1024 * 1024, ge=0, validation_alias=_env("JOBS_KEPT_MAX_BYTES")
    )
    """Bytes of base64 in kept responses; beyond it the oldest go."""
    job_records_dir: Path | None = Field(None, validation_alias=_env("JOB_RECORDS_DIR"))
    """Folder for records of the HTTP server's jobs that outlive it; else RESULTS_DIR/.jobs."""

    # Comfy API v2
    assets_kept_seconds: float = Field(
        604_800.0, gt=0, validation_alias=_env("ASSETS_KEPT_SECONDS")
    )
    """Seconds that an uploaded asset is kept whose caller asks for nothing else."""
    assets_max_bytes: int = Field(50 * 1024**3, gt=0, validation_alias=_env("ASSETS_MAX_BYTES"))
    """Bytes of all uploaded assets; beyond it the oldest go."""
    asset_max_bytes: int = Field(1024**3, gt=0, validation_alias=_env("ASSET_MAX_BYTES"))
    """Bytes of one uploaded asset."""
    job_history_seconds: float = Field(
        604_800.0, gt=0, validation_alias=_env("JOB_HISTORY_SECONDS")
    )
    """Seconds that a job of the Comfy API is kept, with its outputs."""
    job_history_most: int = Field(10_000, ge=0, validation_alias=_env("JOB_HISTORY_MOST"))
    """Jobs of the Comfy API that are kept; beyond it the oldest go."""
    worker_lost_seconds: float = Field(60.0, ge=5, validation_alias=_env("WORKER_LOST_SECONDS"))
    """Seconds without a sign of life after which other workers take a job's worker for gone."""

    # RunPod, by the names that worker-comfyui gave them
    refresh_worker: bool = Field(False, validation_alias=_env("REFRESH_WORKER"))
    """Whether the RunPod worker is replaced after each job; it then takes one at a time."""
    serve_api_locally: bool = Field(False, validation_alias=_env("SERVE_API_LOCALLY"))
    """Whether the RunPod worker answers on its own port 8000, for trying, and takes no jobs."""
    network_volume_debug: bool = Field(False, validation_alias=_env("NETWORK_VOLUME_DEBUG"))
    """Whether the start logs what the models folders hold."""

    # Logs
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", validation_alias=_env("LOG_LEVEL")
    )
    """Least severe records that are logged."""
    comfy_log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] | None = Field(
        None, validation_alias=_env("COMFY_LOG_LEVEL")
    )
    """The same for the records of ComfyUI, of node packs and of libraries; else LOG_LEVEL."""
    log_format: Literal["auto", "json", "text"] = Field("auto", validation_alias=_env("LOG_FORMAT"))
    """json is one object per line; auto is text on a terminal and json elsewhere."""

    @field_validator(
        "model_dirs",
        "node_dirs",
        "eager_packs",
        "warm_up_workflows",
        "fetch_workflows",
        "model_url_hosts",
        "input_allowed_hosts",
        "input_buckets",
        "cors_origins",
        "allowed_hosts",
        "webhook_allowed_hosts",
        "ready_workflows",
        "caller_graph_allow",
        "caller_graph_deny",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value

    @field_validator("api_token", mode="before")
    @classmethod
    def _can_be_sent(cls, value: object) -> object:
        """Drop the line's end that a secret's file has; refuse what a header cannot hold."""
        if not isinstance(value, str):
            return value
        token = value.strip()
        if not (token.isascii() and token.isprintable()):
            raise PydanticCustomError(
                "token", "use printable ASCII characters only, on one line", {}
            )
        return token

    @field_validator("webhook_secret")
    @classmethod
    def _can_sign(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            try:
                keys_of(value.get_secret_value())
            except ValueError as error:
                raise PydanticCustomError("secret", "{problem}", {"problem": str(error)}) from error
        return value

    @field_validator("comfy_log_level", mode="before")
    @classmethod
    def _upper_case(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("comfyui_args")
    @classmethod
    def _can_be_split(cls, value: str) -> str:
        try:
            shlex.split(value)
        except ValueError as error:
            raise PydanticCustomError(
                "arguments", "cannot be split into arguments: {problem}", {"problem": str(error)}
            ) from error
        return value

    @property
    def takes_caller_graphs(self) -> bool:
        """Whether events may bring a graph; without ``caller_graphs``, where callers have a key."""
        if self.caller_graphs is None:
            return self.api_token is not None
        return self.caller_graphs == "on"

    @property
    def loads_api_nodes(self) -> bool:
        """Whether to load the nodes of paid services: asked for, or there may be a key."""
        if self.api_nodes is None:
            return self.takes_caller_graphs or self.comfy_org_api_key is not None
        return self.api_nodes

    @property
    def fetch_dir(self) -> Path:
        """The models folder to fetch to: on a volume where one is mounted, else ComfyUI's own."""
        if self.models_fetch_dir is not None:
            return self.models_fetch_dir
        mounted = (folder for folder in self.model_dirs if folder.is_dir() or _is_mounted(folder))
        return next(mounted, self.comfyui_base_dir / "models")

    @property
    def url_cache_dir(self) -> Path | None:
        """The models folder for models named by URL; ``None`` where events may name none."""
        if not self.model_url_hosts:
            return None
        return self.model_url_cache_dir or self.fetch_dir.parent / "models-by-url"

    @property
    def all_model_dirs(self) -> tuple[Path, ...]:
        """Every models folder beside ComfyUI's own: the further ones, and what is fetched to."""
        own = self.comfyui_base_dir / "models"
        fetched = (self.fetch_dir,) if self.fetch_models == "start" else ()
        folders = dict.fromkeys((*self.model_dirs, *fetched))
        return tuple(folder for folder in folders if folder != own)

    def with_trusted_callers(self) -> Self:
        """Return the settings for callers who proved themselves before: graphs are on if unset."""
        if self.caller_graphs is not None:
            return self
        return self.model_copy(update={"caller_graphs": "on"})

    @property
    def node_pack_dirs(self) -> tuple[Path, ...]:
        """Folders with node packs beside that of the base folder; they need not exist."""
        if self.node_dirs is not None:
            return self.node_dirs
        return tuple(folder.parent / "custom_nodes" for folder in self.model_dirs)

    @property
    def listen_address(self) -> str:
        """The address to listen on: ``host``, else all of a container's, else loopback alone."""
        return self.host or (_EVERYWHERE if _in_container() else "127.0.0.1")

    @model_validator(mode="after")
    def _vram_of_a_gpu(self) -> Self:
        if self.device == "cpu" and self.vram_mode != "auto":
            raise PydanticCustomError(
                "vram_mode",
                "COMFYUI_VRAM_MODE={mode} is for GPUs; with COMFYUI_DEVICE=cpu leave it at auto",
                {"mode": self.vram_mode},
            )
        return self

    @model_validator(mode="after")
    def _complete_bucket(self) -> Self:
        keys = {
            "BUCKET_ACCESS_KEY_ID": self.bucket_access_key_id,
            "BUCKET_SECRET_ACCESS_KEY": self.bucket_secret_access_key,
        }
        missing = [name for name, value in keys.items() if not value]
        if len(missing) == 1:
            raise PydanticCustomError(
                "bucket_keys",
                "set {missing} too, or neither of the bucket's keys",
                {"missing": missing[0]},
            )
        return self


def _is_mounted(folder: Path) -> bool:
    """Say whether a volume is there for a folder that is not: the folder above is one of its own.

    A folder right below the root, such as /models, can be a mount only if it is there.
    """
    above = folder.parent
    return above != above.parent and above.is_dir() and os.access(above, os.W_OK)


def _in_container() -> bool:
    # Left by Docker and Podman; the first process of a container is the one that was asked for.
    marks = (Path("/.dockerenv"), Path("/run/.containerenv"))
    return os.getpid() == 1 or any(mark.exists() for mark in marks)


def load_settings(**overrides: object) -> Settings:
    """Read the environment (and ``.env``) into validated settings.

    Args:
        overrides: Field values that win over the environment, for command-line options.

    Raises:
        ConfigurationError: A value cannot work; the message names the variable.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'environment'}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)
        )
        raise ConfigurationError(f"Fix the environment: {problems}.") from error
