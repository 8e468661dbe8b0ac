"""What a webhook says, and what is kept of one until it is delivered."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from handler.contract.answer import answer_of
from handler.contract.response import Success

if TYPE_CHECKING:
    from handler.contract.job_id import JobId
    from handler.contract.progress import JobProgress
    from handler.contract.response import Response

MessageType = Literal["job.done", "job.progress"]


class Message(BaseModel):
    """One webhook on its way.

    Attributes:
        message_id: The same at every attempt; also its name on the shelf.
        job_id: The job's.
        url: Where it goes.
        body: JSON, signed and sent as it is.
        made_at: Seconds since the epoch.
        attempts: How many there were.
        due: When the next one is, in seconds since the epoch.
    """

    model_config = ConfigDict(frozen=True)

    message_id: str
    job_id: str
    type: MessageType
    url: str
    body: str
    made_at: float
    attempts: int = 0
    due: float


def done_message(job_id: JobId, url: str, response: Response, now: float) -> Message:
    """Return the message of a job's end. Pictures that a response has as base64 are left out.

    Args:
        now: Seconds since the epoch.
    """
    data = {"status": response.status, "progress": None, "response": _answer(response)}
    return _message("job.done", job_id, url, data, now)


def progress_message(job_id: JobId, url: str, progress: JobProgress, now: float) -> Message:
    """Return the message of a job's progress.

    Args:
        now: Seconds since the epoch.
    """
    data = {"status": "running", "progress": progress.to_json(), "response": None}
    return _message("job.progress", job_id, url, data, now)


def _answer(response: Response) -> dict[str, Any]:
    if isinstance(response, Success):
        outputs = [output.model_copy(update={"base64": None}) for output in response.outputs]
        response = response.model_copy(update={"outputs": outputs})
    return answer_of(response)


def _message(
    kind: MessageType, job_id: JobId, url: str, data: dict[str, Any], now: float
) -> Message:
    body = {
        "type": kind,
        "timestamp": datetime.fromtimestamp(now, UTC).isoformat().replace("+00:00", "Z"),
        "data": {"job_id": job_id, "given_id": job_id.given, **data},
    }
    return Message(
        message_id=f"msg_{uuid.uuid4().hex}",
        job_id=job_id,
        type=kind,
        url=url,
        # Half a surrogate pair in an id stays an escape.
        body=json.dumps(body),
        made_at=now,
        due=now,
    )
