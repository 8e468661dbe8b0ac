"""What a caller reads: a response, in the shape that the event's contract has."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from handler.contract.response import Failure

if TYPE_CHECKING:
    from handler.contract.response import OutputFile, Response, Success


def answer_of(response: Response) -> dict[str, Any]:
    """Return a response as JSON data, as the contract of its event has it."""
    if response.shape == "own":
        return response.to_json()
    return _failure(response) if isinstance(response, Failure) else _success(response)


def _success(success: Success) -> dict[str, Any]:
    """Return a success as worker-comfyui answers it; every kind of file is among its images.

    Texts that nodes show are beside them.
    """
    files = [_file(output) for output in success.outputs if output.text is None]
    body: dict[str, Any] = {"images": files}
    if not files:
        body = {"status": "success_no_images", **body}
    texts = [output.text for output in success.outputs if output.text is not None]
    if texts:
        body["texts"] = texts
    if success.warnings:
        body["errors"] = list(success.warnings)
    return body


def _failure(failure: Failure) -> dict[str, Any]:
    """Return a failure as worker-comfyui answers it: a text, and more about it as texts."""
    error = failure.error
    details = [f"code: {error.code}", f"retryable: {json.dumps(error.retryable)}"]
    details += [
        f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in error.details.items()
    ]
    return {"error": error.message, "details": details}


def _file(output: OutputFile) -> dict[str, str]:
    name = output.filename or (output.key or "").rpartition("/")[2] or "output"
    if output.base64 is not None:
        return {"filename": name, "type": "base64", "data": output.base64}
    return {"filename": name, "type": "s3_url", "data": output.url or ""}
