"""Why a file cannot become a workflow."""

from __future__ import annotations

from comfyui_runtime.errors import ServiceError


class WorkflowFileError(ServiceError):
    """What was given holds no workflow that could be read."""

    code = "invalid_workflow_file"
    http_status = 422


class PaidServiceError(ServiceError):
    """The workflow calls a paid service of others, for which an account is needed."""

    code = "needs_account"
    http_status = 422
