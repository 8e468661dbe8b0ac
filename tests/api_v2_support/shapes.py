"""What each answer of the Comfy API v2 has to look like, by the public description of 2.0.0."""

from __future__ import annotations

import json
import re
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

STATUSES = ["queued", "running", "succeeded", "canceling", "canceled", "failed", "expired"]
TEXT = {"type": "string"}
TEXT_OR_NULL = {"type": ["string", "null"]}
TIME = {"type": "string", "format": "date-time"}
TIME_OR_NULL = {"type": ["string", "null"], "format": "date-time"}
COUNT = {"type": "integer", "minimum": 0}
COUNT_OR_NULL = {"type": ["integer", "null"], "minimum": 0}
ADDRESS = {"type": "string", "pattern": "^https?://"}
HASH = {"type": ["string", "null"], "pattern": "^blake3:[0-9a-f]{64}$"}


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **(optional or {})},
        # Answers may have more than the description; ours do not, but for what is listed here.
        "additionalProperties": False,
    }


ASSET = _object(
    {
        "id": TEXT,
        "hash": HASH,
        "size_bytes": COUNT,
        "content_type": TEXT,
        "created_at": TIME,
        "url": ADDRESS,
        "url_expires_at": TIME,
    },
    {
        "file_path": TEXT_OR_NULL,
        "created_new": {"type": "boolean"},
        "expires_at": TIME_OR_NULL,
        "job_id": TEXT_OR_NULL,
    },
)
PROGRESS = _object(
    {
        "value": {"type": "number", "minimum": 0, "maximum": 1},
        "nodes_done": COUNT,
        "nodes_total": COUNT,
    },
    {
        "current_node": TEXT_OR_NULL,
        "current_node_class": TEXT_OR_NULL,
        "step": COUNT_OR_NULL,
        "steps": COUNT_OR_NULL,
        "message": TEXT_OR_NULL,
    },
)
OUTPUT = _object(
    {
        "node_id": TEXT,
        "name": TEXT,
        "type": {"enum": ["image", "video", "audio", "text", "file", "latent"]},
        "content_type": TEXT,
        "size_bytes": COUNT,
        "id": TEXT,
        "hash": HASH,
        "url": ADDRESS,
        "url_expires_at": TIME,
    },
    {"job_id": TEXT_OR_NULL},
)
JOB_ERROR = _object(
    {"code": TEXT, "message": TEXT},
    {"node_id": TEXT_OR_NULL, "class_type": TEXT_OR_NULL, "traceback": TEXT_OR_NULL},
)
LABELS = {"type": "object", "additionalProperties": TEXT}
JOB = _object(
    {
        "id": TEXT,
        "status": {"enum": STATUSES},
        "created_at": TIME,
        "started_at": TIME_OR_NULL,
        "completed_at": TIME_OR_NULL,
        "expires_at": TIME,
        "queue_position": COUNT_OR_NULL,
        "progress": {"anyOf": [PROGRESS, {"type": "null"}]},
        "outputs": {"type": "array", "items": OUTPUT},
        "error": {"anyOf": [JOB_ERROR, {"type": "null"}]},
        "urls": _object({"self": TEXT, "events": TEXT, "cancel": TEXT}),
    },
    {
        "metrics": {"type": "object", "additionalProperties": COUNT_OR_NULL},
        "metadata": LABELS,
    },
)
# Not in the description of 2.0.0; as the SDKs read it.
SUMMARY = _object(
    {
        "id": TEXT,
        "status": {"enum": STATUSES},
        "create_time": TIME,
        "update_time": TIME,
        "metadata": LABELS,
    }
)
JOBS = _object({"jobs": {"type": "array", "items": SUMMARY}}, {"next_cursor": TEXT})
WORKFLOW = _object({"workflow": {"type": "object"}, "format": {"enum": ["save", "api"]}})
LOGS = _object(
    {
        "logs": {
            "type": "array",
            "items": _object({"timestamp": TIME, "level": TEXT, "message": TEXT}),
        },
        "dropped": COUNT,
    }
)
ERROR = _object(
    {
        "error": _object(
            {"code": TEXT, "message": {"type": "string", "minLength": 1}},
            {"details": {"type": ["object", "null"]}},
        )
    }
)
EVENTS = {
    "status": _object({"status": {"enum": STATUSES}}, {"queue_position": COUNT_OR_NULL}),
    "progress": PROGRESS,
    "output": OUTPUT,
    "preview": _object({"node_id": TEXT, "content_type": TEXT, "data_base64": TEXT}),
    "log": _object({"level": TEXT, "message": TEXT}),
}
BODIES = [
    ("POST", r"/assets", {200, 201}, ASSET),
    ("POST", r"/assets/from-hash", {200, 201}, ASSET),
    ("GET", r"/assets/[^/]+", {200}, ASSET),
    ("POST", r"/jobs", {201}, JOB),
    ("GET", r"/jobs", {200}, JOBS),
    ("GET", r"/jobs/[^/]+", {200}, JOB),
    ("POST", r"/jobs/[^/]+/cancel", {200}, JOB),
    ("GET", r"/jobs/[^/]+/workflow", {200}, WORKFLOW),
    ("GET", r"/jobs/[^/]+/logs", {200}, LOGS),
]
WITHOUT_BODY = [
    ("DELETE", r"/assets/[^/]+", {204}),
    ("HEAD", r"/assets/by-hash/[^/]+", {200, 404}),
]
BYTES = [("GET", r"/assets/[^/]+/content", {200, 206, 302, 416})]
STATUS_OF_CODE = {
    "invalid_workflow": 422,
    "workflow_format_ui": 422,
    "missing_asset": 422,
    "hash_mismatch": 409,
    "blob_not_found": 404,
    "idempotency_key_reuse": 422,
    "queue_full": 429,
    "not_found": 404,
    "unauthorized": 401,
    "forbidden": 403,
    "deployment_not_ready": 429,
    "upstream_error": 500,
}


def check(schema: dict[str, Any], data: object) -> None:
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(data)


def check_answer(method: str, path: str, status: int, headers: dict[str, str], body: bytes) -> None:
    """Fail where an answer is not as the description has it.

    Args:
        path: Below ``/api/v2``.
    """
    for own_method, pattern, statuses in WITHOUT_BODY:
        if method == own_method and re.fullmatch(pattern, path) and status in statuses:
            assert body == b"", (method, path, body)
            return
    for own_method, pattern, statuses in BYTES:
        if method == own_method and re.fullmatch(pattern, path) and status in statuses:
            assert status != 302 or headers["location"].startswith("http")
            return
    if path.endswith("/events") and status == 200:
        assert headers["content-type"].startswith("text/event-stream")
        check_events(body)
        return
    for own_method, pattern, statuses, schema in BODIES:
        if method == own_method and re.fullmatch(pattern, path) and status in statuses:
            check(schema, json.loads(body))
            return
    assert status >= 400, (method, path, status)
    error = json.loads(body)
    check(ERROR, error)
    code = error["error"]["code"]
    assert STATUS_OF_CODE.get(code, status) == status, (code, status)
    assert ("retry-after" in headers) == (status == 429)


def check_events(body: bytes) -> None:
    """Fail where a stream, or its beginning, is not as the description has it."""
    for frame in body.decode().split("\n\n")[:-1]:
        if frame.startswith(":"):
            continue
        lines = dict(line.split(": ", 1) for line in frame.splitlines())
        assert set(lines) == {"event", "id", "data"}
        check(EVENTS[lines["event"]], json.loads(lines["data"]))
