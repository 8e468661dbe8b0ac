from __future__ import annotations

import subprocess
import sys

import pytest
from places import PROJECT

from bench.templates import open_templates
from handler.adding.source import template_folder

pytestmark = pytest.mark.skipif(
    template_folder() is None, reason="needs comfyui-workflow-templates-json"
)


def test_open_templates_are_those_that_need_no_paid_service():
    names = open_templates()
    assert len(names) == 309
    assert "flux_schnell" in names
    assert not any(name.startswith(("api_", "index")) for name in names)


@pytest.mark.slow
def test_one_command_counts_what_converts_and_validates_and_gives_the_reasons():
    names = ["flux_schnell", "image_sdxl_simple", "utility_recraft_crisp_image_upscale"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "bench.templates", *names],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=PROJECT,
    )
    assert done.returncode == 0, done.stderr
    assert "| converted | 3 of 3 | 100.0 % |" in done.stdout
    assert "| need a paid service all the same | 1 of 3 |" in done.stdout
    assert "- utility_recraft_crisp_image_upscale: paid: Recraft" in done.stdout
