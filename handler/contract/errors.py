"""Failures of the handler's own steps; they extend the hierarchy of ``comfyui_runtime.errors``."""

from __future__ import annotations

from comfyui_runtime.errors import GraphError, ServiceError


class ConfigurationError(ServiceError):
    """A setting has a value that cannot work; raised at start, before any job."""

    code = "invalid_configuration"
    http_status = 500


class EventError(ServiceError):
    """The event is not of the documented shape."""

    code = "invalid_event"
    http_status = 422


class GraphRefusedError(ServiceError):
    """The event brings a graph, and the worker takes none, or not one with such nodes."""

    code = "graph_refused"
    http_status = 403


class InputError(ServiceError):
    """An input cannot be used."""

    code = "invalid_input"
    http_status = 422


class ForbiddenAddressError(InputError):
    """An input address, or one it redirects to, is in a network the worker must not reach."""

    code = "forbidden_address"
    http_status = 403


class InputTooLargeError(InputError):
    """An input has more bytes, pixels or seconds than allowed."""

    code = "input_too_large"
    http_status = 413


class NotAnImageError(InputError):
    """The bytes of an input do not decode as an image of a supported format."""

    code = "not_an_image"
    http_status = 415


class NotMediaError(InputError):
    """The bytes of an input are not a video, a sound or a model of a supported format."""

    code = "not_media"
    http_status = 415


class FetchError(InputError):
    """An input address answered with an error that will not go away by itself."""

    code = "fetch_failed"
    http_status = 424


class FetchUnavailableError(FetchError):
    """An input address could not be reached, or answered too slowly or with a server error."""

    code = "fetch_unavailable"
    retryable = True


class OutputError(ServiceError):
    """The graph ran but what it made cannot be returned as asked for."""

    code = "no_output"
    http_status = 500


class ResponseTooLargeError(OutputError):
    """The response has more bytes than the platform passes on."""

    code = "response_too_large"


class StorageError(ServiceError):
    """The result could not be stored and sending the job again will not help by itself."""

    code = "storage_refused"
    http_status = 502


class StorageUnavailableError(StorageError):
    """The storage could not be reached or failed for a while."""

    code = "storage_unavailable"
    http_status = 503
    retryable = True


class JobIdInUseError(ServiceError):
    """Another event with this id is under way."""

    code = "job_id_in_use"
    http_status = 409
    retryable = True


class OverloadedError(ServiceError):
    """The worker's queue is full."""

    code = "overloaded"
    http_status = 429
    retryable = True


class ShuttingDownError(ServiceError):
    """The worker is stopping and hands the job back."""

    code = "shutting_down"
    http_status = 503
    retryable = True


class WorkerLostError(ServiceError):
    """The worker ended while it worked on the job, without handing it back."""

    code = "worker_lost"
    http_status = 503
    retryable = True


class CrashingJobError(ServiceError):
    """Every worker that ran the job of a batch ended without handing it back."""

    code = "job_crashes_workers"
    http_status = 500


class InternalError(ServiceError):
    """A defect of this software; the job id finds the log record."""

    code = "internal"
    http_status = 500
    retryable = True


class MalformedJsonError(ServiceError):
    """The request's body is not JSON in UTF-8."""

    code = "malformed_json"
    http_status = 400


class UnauthorizedError(ServiceError):
    """The request lacks the token, or has a wrong one."""

    code = "unauthorized"
    http_status = 401


class NotFoundError(ServiceError):
    """There is nothing at this address."""

    code = "not_found"
    http_status = 404


class UnknownJobError(NotFoundError):
    """No job with this id is under way or remembered."""

    code = "unknown_job"


class MethodNotAllowedError(ServiceError):
    """The address does not take this method."""

    code = "method_not_allowed"
    http_status = 405


class SlowRequestError(ServiceError):
    """The request's body did not come in time."""

    code = "slow_request"
    http_status = 408
    retryable = True


class RequestTooLargeError(ServiceError):
    """The request's body has more bytes than allowed."""

    code = "request_too_large"
    http_status = 413


class RequestHeadTooLargeError(ServiceError):
    """The request's address and headers have more bytes than allowed."""

    code = "request_head_too_large"
    http_status = 431


class ForbiddenHostError(ServiceError):
    """The server, which has no token, was called by a name that is not known to be its own."""

    code = "forbidden_host"
    http_status = 421


class MediaTypeError(ServiceError):
    """The request's body is not declared as JSON."""

    code = "unsupported_media_type"
    http_status = 415


class BootingError(ServiceError):
    """ComfyUI's start takes longer than a request may wait."""

    code = "booting"
    http_status = 503
    retryable = True


class EditorFormatError(GraphError):
    """A workflow came in the format that ComfyUI's editor saves where API format is asked for."""

    code = "workflow_format_ui"


class MissingAssetError(ServiceError):
    """A reference to an asset is malformed, or there is no such asset (any more)."""

    code = "missing_asset"
    http_status = 422


class BlobNotFoundError(NotFoundError):
    """No bytes with this hash are kept."""

    code = "blob_not_found"


class HashMismatchError(ServiceError):
    """The bytes that were received do not have the hash that was declared."""

    code = "hash_mismatch"
    http_status = 409


class IdempotencyKeyReuseError(ServiceError):
    """An earlier request had this Idempotency-Key."""

    code = "idempotency_key_reuse"
    http_status = 422


class MetadataError(ServiceError):
    """A job's labels, or a filter for them, are not what they may be."""

    code = "metadata_invalid"
    http_status = 422


class MetadataFilterError(MetadataError):
    """A filter for jobs' labels is not what it may be."""

    code = "invalid_metadata_filter"


class CursorError(ServiceError):
    """A page's cursor is none that was given out."""

    code = "invalid_cursor"
    http_status = 422
