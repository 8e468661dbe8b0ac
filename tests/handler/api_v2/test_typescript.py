"""The unmodified ``@comfyorg/sdk`` from npm, run by Node, where both can be had."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from api_v2_support.graphs import GRAPH, inverts, picture, steps_graph
from api_v2_support.typescript import install_sdk
from places import TESTS
from pydantic import SecretStr

pytestmark = pytest.mark.slow

SCRIPT = TESTS / "api_v2_support" / "sdk.mjs"


@pytest.fixture(scope="session")
def package(tmp_path_factory) -> Path:
    """A folder with the SDK installed."""
    folder = tmp_path_factory.mktemp("typescript")
    install_sdk(folder)
    return folder


def test_pictures_jobs_and_events(make_api_server, package, tmp_path):
    server = make_api_server(api_token=SecretStr("secret-token"))
    sent = picture()
    (tmp_path / "photo.png").write_bytes(sent)
    (tmp_path / "graph.json").write_text(json.dumps(GRAPH))
    (tmp_path / "steps.json").write_text(json.dumps(steps_graph(20, 0.05)))
    script = shutil.copy(SCRIPT, package / SCRIPT.name)
    files = [str(tmp_path / name) for name in ("photo.png", "graph.json", "steps.json", "out.png")]
    ran = subprocess.run(
        ["node", script, *files],
        cwd=package,
        env={**os.environ, "COMFY_BASE_URL": server.url, "TEST_API_KEY": "secret-token"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert inverts((tmp_path / "out.png").read_bytes(), sent)
