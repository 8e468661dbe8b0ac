from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from places import PROJECT

TEXT = (PROJECT / "Dockerfile").read_text("utf-8").replace("\\\n", "")
STAGES = {
    stage.split("\n")[0].split(" AS ")[1]: stage
    for stage in re.split(r"^FROM ", TEXT, flags=re.MULTILINE)[1:]
}
STEPS = ["torch", "comfyui", "nodes", "models", "project", "index"]


def test_hadolint_has_nothing_to_say():
    hadolint = Path(sys.executable).parent / "hadolint"
    command = [hadolint, PROJECT / "Dockerfile"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_layers_stand_in_the_order_in_which_they_change_least():
    found = re.findall(r"provision\.sh .*--only (\w+)|COPY --from=(models) /opt", STAGES["worker"])
    assert [step or copied for step, copied in found] == STEPS


def test_every_step_is_one_of_provision_sh():
    steps = re.findall(r"provision\.sh .*?--only (\w+)", TEXT)
    assert set(steps) == set(STEPS)
    assert not re.search(r"\bpip3? install|git clone|curl |wget ", TEXT)


BASES = re.findall(r"^FROM (\S+:\S+) AS (cuda-\S+)", TEXT, re.MULTILINE)


def test_the_bases_are_cuda_pinned_by_version_and_digest():
    assert [name for _, name in BASES] == ["cuda-12.6", "cuda-13.0"]
    for base, name in BASES:
        release = re.escape(name.removeprefix("cuda-"))
        assert re.fullmatch(
            rf"nvidia/cuda:{release}\.\d+-base-ubuntu24\.04@sha256:[0-9a-f]{{64}}", base
        )
    assert STAGES["system"].startswith("cuda-${CUDA} ")
    assert "ARG CUDA=13.0\n" in TEXT


def test_pytorch_comes_from_the_index_with_builds_for_the_bases_cuda_release():
    constraints = (PROJECT / "constraints.txt").read_text("utf-8")
    [release] = re.findall(r"^nvidia-cuda-runtime==(\d+\.\d+)", constraints, re.MULTILINE)
    indexes = {
        name: re.search(r"^ENV TORCH_INDEX=(\S+)$", STAGES[name], re.MULTILINE)[1]
        for _, name in BASES
    }
    assert indexes == {
        f"cuda-{release}": "pypi",
        "cuda-12.6": "https://download.pytorch.org/whl/cu126",
    }
    assert '--only torch --torch-index "$TORCH_INDEX"' in STAGES["worker"]


def test_the_image_is_not_run_as_root():
    assert re.findall(r"^USER (\S+)", STAGES["worker"], re.MULTILINE) == ["10001"]


def test_the_final_stage_installs_no_compiler_and_no_downloader():
    packages = re.findall(r"--no-install-recommends ([^&]+)", STAGES["system"] + STAGES["worker"])
    assert " ".join(packages).split() == ["ca-certificates", "python3", "python3-venv"]


def test_every_file_that_is_copied_exists_and_is_in_the_build_context():
    sources = {
        source.rstrip("/")
        for line in re.findall(r"^COPY (?!--from)(.+)$", TEXT, re.MULTILINE)
        for source in line.split()[:-1]
    }
    allowed = set(
        re.findall(r"^!(.+)$", (PROJECT / ".dockerignore").read_text("utf-8"), re.MULTILINE)
    )
    assert sources == allowed
    assert [source for source in sources if not (PROJECT / source).exists()] == []


def test_health_is_asked_of_the_running_worker():
    assert re.findall(r"^HEALTHCHECK .*?CMD (.+)$", TEXT, re.MULTILINE) == [
        '["python", "-m", "handler", "health"]'
    ]


def test_the_server_listens_where_the_engine_can_reach_it():
    assert re.search(r"^ENV HOST=0\.0\.0\.0$", STAGES["worker"], re.MULTILINE)
