"""The queueing of a submission: at once, or when ComfyUI has started."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from comfyui_runtime.errors import MissingNodeClassError, ServiceError
from handler.api_v2.ids import new_job_id
from handler.api_v2.records import Submission
from handler.api_v2.submission import prepare
from handler.contract.response import failure
from handler.machine_paths import without_paths

if TYPE_CHECKING:
    from handler.api_v2.live_job import LiveJob
    from handler.api_v2.state import ApiV2
    from handler.api_v2.submission import Prepared, SubmissionBody
    from handler.contract.job_id import JobId

# What refuses a submission at the door does so within this, also while ComfyUI starts.
_DOOR_SECONDS = 1.0

log = logging.getLogger(__name__)


async def submit(api: ApiV2, body: SubmissionBody) -> LiveJob:
    """Queue a job, and write it down before this returns.

    While ComfyUI starts, the job waits for it; what is wrong with it that can be told without
    ComfyUI is told here nevertheless.

    Raises:
        ServiceError: It was not taken.
    """
    labels = body.labels
    prepared = await asyncio.to_thread(prepare, body, api.assets, api.settings)
    _check_classes(api, prepared)
    api.service.check_room()
    job_id = new_job_id()
    submission = Submission(
        id=job_id,
        created_at=time.time(),
        worker=api.history.worker,
        workflow=body.workflow,
        nodes_total=len(prepared.nodes),
        metadata=labels,
    )
    live = api.history.expect(submission)
    try:
        await _queue(api, live, prepared, job_id)
        await asyncio.to_thread(api.history.record, submission)
    except ServiceError:
        if live.job is not None:
            live.job.cancel()
        elif live.task is not None:
            live.task.cancel()
        api.history.drop(job_id)
        raise
    return live


async def _queue(api: ApiV2, live: LiveJob, prepared: Prepared, job_id: JobId) -> None:
    queueing = asyncio.ensure_future(api.service.jobs.submit(prepared.event, job_id, detached=True))
    if not api.booted:
        await asyncio.wait({queueing}, timeout=_DOOR_SECONDS)
        if not queueing.done():

            async def queue_later() -> None:
                try:
                    api.history.follow(live, await queueing)
                except ServiceError as error:
                    told = without_paths(error, api.settings)
                    api.history.fail(live, failure(job_id, told))

            live.task = asyncio.create_task(queue_later())
            api.tasks.add(live.task)
            live.task.add_done_callback(api.tasks.discard)
            return
    api.history.follow(live, await queueing)


def _check_classes(api: ApiV2, prepared: Prepared) -> None:
    """Refuse node classes that are not there; while ComfyUI starts, nobody knows yet.

    Raises:
        MissingNodeClassError: The message names the first; the details name all.
    """
    known = api.node_classes
    if known is None:
        return
    unknown = {node_id: name for node_id, name in prepared.nodes.items() if name not in known}
    if unknown:
        node_id, name = next(iter(unknown.items()))
        raise MissingNodeClassError(
            f"Node {node_id} ({name}): no such node class is installed.",
            node_errors={
                node: [{"field": None, "reason": "unknown_node_class", "message": class_type}]
                for node, class_type in unknown.items()
            },
        )
