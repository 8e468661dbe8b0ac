"""The asynchronous half of the unmodified ``comfy-sdk``."""

from __future__ import annotations

import asyncio
import inspect
import json
from io import BytesIO
from pathlib import Path

import comfy_sdk
import pytest
from api_v2_support.graphs import GRAPH, inverts, picture, steps_graph
from comfy_sdk import AsyncComfy, NotFound
from comfy_sdk.events import OutputReady, StatusChange


@pytest.fixture
def run_async(api_server, sdk):
    """Run a coroutine function with a client."""
    sdk(api_server)  # sets the address

    def run(scenario) -> None:
        async def with_client() -> None:
            async with AsyncComfy() as client:
                await scenario(client)

        asyncio.run(with_client())

    return run


def test_picture_goes_in_and_comes_out(run_async, tmp_path):
    sent = picture()
    (tmp_path / "photo.png").write_bytes(sent)

    async def scenario(client: AsyncComfy) -> None:
        workflow = client.workflows.from_json(json.loads(json.dumps(GRAPH)))
        workflow.set_input("1", "image", client.assets.from_file(tmp_path / "photo.png"))
        job = await client.run(workflow, timeout=60)
        (output,) = job.get_outputs("3")
        data = await output.to_bytes()
        assert inverts(data, sent)
        assert (await output.to_file(tmp_path / "out.png")).read_bytes() == data
        sink = BytesIO()
        assert await output.to_stream(sink, range=(0, 4)) == 5
        assert (await output.get_download_url()).url.endswith("/content")
        found = await client.jobs.get(job.id)
        assert (await found.get_workflow()).format == "api"

    run_async(scenario)


def test_assets_are_kept_once_and_deleted(run_async):
    data = picture()

    async def scenario(client: AsyncComfy) -> None:
        first = client.assets.from_bytes(data, filename="a.png")
        await first.commit()
        second = client.assets.from_stream(BytesIO(data), filename="b.png")
        assert (await second.as_reference())["info"]["hash"] == first.hash
        assert second.created_new is False
        url = (await first.get_download_url()).url
        third = await client.assets.from_url(url)
        await third.commit()
        assert (await client.assets.get(first.id)).hash == first.hash
        first_id = first.id
        await client.assets.delete(first_id)
        await second.delete()
        with pytest.raises(NotFound):
            await client.assets.get(first_id)

    run_async(scenario)


def test_jobs_are_followed_cancelled_and_listed(run_async):
    async def scenario(client: AsyncComfy) -> None:
        workflow = client.workflows.from_json(steps_graph(10))
        job = await client.submit(workflow, metadata={"n": "1"})
        events = [event async for event in job.events()]
        assert any(isinstance(event, OutputReady) for event in events)
        assert events[-1] == StatusChange("succeeded", None)
        assert (await job.result()).outputs
        endless = await client.submit(client.workflows.from_json(steps_graph(1000, 0.05)))
        while (await endless.refresh()).status != "running":
            pass
        await endless.cancel()
        assert (await endless.wait(20)).status == "canceled"
        listed = [found.id async for found in client.list_jobs(limit=1)]
        assert listed == [endless.id, job.id]
        labelled = [found.id async for found in client.list_jobs(metadata={"n": "1"})]
        assert labelled == [job.id]

    run_async(scenario)


def test_every_public_method_is_called_here():
    """But for those of the hosted catalogue of models, and of the client's own life."""
    own = Path(__file__).read_text()
    classes = (
        comfy_sdk.AsyncComfy,
        comfy_sdk.AsyncAssetFactory,
        comfy_sdk.AsyncAsset,
        comfy_sdk.client.AsyncJobFactory,
        comfy_sdk.AsyncJob,
        comfy_sdk.AsyncOutput,
    )
    for class_ in classes:
        for name, _ in inspect.getmembers(class_, inspect.isfunction):
            assert name.startswith("_") or name == "aclose" or f".{name}(" in own, name
