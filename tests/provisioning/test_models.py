from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from provisioning_support.content import safetensors, sha256

pytestmark = pytest.mark.slow

MODEL = safetensors(b"weights" * 100)
PATH = "checkpoints/model.safetensors"
MODELS = ("--only", "models", "--fetch-only")


def entry(address: str, path: str = PATH, checksum: str | None = None) -> str:
    folder, _, name = path.rpartition("/")
    lines = [address, f"  dir={folder}", f"  out={name}"]
    lines += [f"  checksum=sha-256={checksum}"] if checksum else []
    return "\n".join(lines) + "\n"


@pytest.fixture
def listed(project, server):
    """Publish one model and list it."""

    def publish(content: bytes = MODEL, path: str = PATH, checksum: str | None = None) -> None:
        name = path.rpartition("/")[2]
        server.files[f"/{name}"] = content
        text = (project.folder / "models.txt").read_text("utf-8") or "# groups: ghibli\n"
        project.write("models.txt", text + entry(server.address(f"/{name}"), path, checksum))

    return publish


def test_only_models_of_the_profile_are_fetched(project, server, listed):
    listed(checksum=sha256(MODEL))
    text = (project.folder / "models.txt").read_text("utf-8")
    server.files["/depth.pt"] = b"PK"
    depth = entry(server.address("/depth.pt"), "controlnet_aux/depth.pt")
    project.write("models.txt", f"{text}# groups: depth\n{depth}")

    done = project.run("ghibli", *MODELS)

    assert done.returncode == 0, done.stdout
    assert (project.models / PATH).read_bytes() == MODEL
    assert not (project.models / "controlnet_aux").exists()
    assert {request.path for request in server.requests} == {"/model.safetensors"}


def test_the_demo_profile_fetches_no_model(project, server, listed):
    listed()
    done = project.run("demo", *MODELS)
    assert done.returncode == 0, done.stdout
    assert server.requests == []


def test_a_second_run_asks_no_host_and_changes_nothing(project, server, listed):
    listed()
    listed(b"id,name\n", "wd14_tagger/tags.csv", sha256(b"id,name\n"))
    assert project.run("ghibli", *MODELS).returncode == 0
    asked = len(server.requests)
    lock = (project.folder / "models.lock").read_text("utf-8")

    again = project.run("ghibli", *MODELS)

    assert again.returncode == 0, again.stdout
    assert len(server.requests) == asked
    assert (project.folder / "models.lock").read_text("utf-8") == lock


def test_an_unknown_checksum_is_computed_printed_and_recorded(project, listed):
    listed()
    done = project.run("ghibli", *MODELS)
    assert f"sha256 {sha256(MODEL)}, recorded in models.lock" in done.stdout
    lock = (project.folder / "models.lock").read_text("utf-8")
    assert lock == f"{sha256(MODEL)}  {PATH}\n"


@pytest.mark.parametrize("known", [True, False])
def test_only_a_file_whose_checksum_was_compared_is_called_verified(project, listed, known):
    listed(checksum=sha256(MODEL) if known else None)
    lines = project.run("ghibli", *MODELS).stdout.splitlines()
    assert f"    {PATH}: fetched{' and verified' if known else ''}" in lines
    assert known == any("verified" in line for line in lines)


def test_a_checksum_that_the_list_states_is_not_recorded_again(project, listed):
    listed(checksum=sha256(MODEL))
    assert project.run("ghibli", *MODELS).returncode == 0
    assert (project.folder / "models.lock").read_text("utf-8") == ""


def test_the_lock_file_is_understood_by_sha256sum(project, listed):
    listed()
    assert project.run("ghibli", *MODELS).returncode == 0
    command = ["sha256sum", "--check", "--strict", str(project.folder / "models.lock")]
    assert subprocess.run(command, cwd=project.models, check=False).returncode == 0


@pytest.mark.parametrize("source", ["models.txt", "models.lock"])
def test_a_file_other_than_the_known_one_is_refused_and_not_installed(project, listed, source):
    known = sha256(b"another file")
    if source == "models.txt":
        listed(checksum=known)
    else:
        listed()
        project.write("models.lock", f"{known}  {PATH}\n")

    done = project.run("ghibli", *MODELS)

    assert done.returncode == 1
    assert f"{PATH} has sha256 {sha256(MODEL)}, but {source} says {known}" in done.stdout
    assert "run this again" in done.stdout
    assert list((project.models / "checkpoints").iterdir()) == []


def test_a_file_that_was_changed_afterwards_is_found_out_and_kept(project, listed):
    listed()
    assert project.run("ghibli", *MODELS).returncode == 0
    changed = safetensors(b"other weights")
    (project.models / PATH).write_bytes(changed)

    done = project.run("ghibli", *MODELS)

    assert done.returncode == 1
    assert f"has sha256 {sha256(changed)}, but models.lock says {sha256(MODEL)}" in done.stdout
    assert f"Delete {project.models / PATH} to fetch it anew" in done.stdout
    assert (project.models / PATH).read_bytes() == changed


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<!DOCTYPE html><title>Log in</title>", "it is a web page"),
        (MODEL[:-1], f"it has {len(MODEL) - 1} bytes where its header says {len(MODEL)}"),
        (b"\xff" * 64, "its safetensors header is cut short"),
        (b"\x02\0\0\0\0\0\0\0[]", "it has no safetensors header"),
    ],
    ids=["login page", "truncated", "no header length", "no header"],
)
def test_what_is_no_model_is_neither_installed_nor_recorded(project, listed, content, reason):
    listed(content)
    done = project.run("ghibli", *MODELS)
    assert done.returncode == 1
    assert f"{PATH} is not a usable model file: {reason}" in done.stdout
    assert (project.folder / "models.lock").read_text("utf-8") == ""
    assert not (project.models / PATH).exists()


def test_a_missing_file_is_named_and_the_others_are_fetched(project, server, listed):
    listed()
    listed(b"id,name\n", "wd14_tagger/tags.csv")
    del server.files["/model.safetensors"]

    done = project.run("ghibli", *MODELS)

    assert done.returncode == 1
    assert f"{PATH} was not fetched from {server.address('/model.safetensors')}" in done.stdout
    assert (project.models / "wd14_tagger" / "tags.csv").exists()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_was_broken_off_is_resumed(project, server, listed, wait_until, end):
    content = safetensors(bytes(range(256)) * 4 * 8192)
    listed(content, checksum=sha256(content))
    server.seconds_per_chunk = 0.05
    part = project.models / f"{PATH}.part"
    control = project.models / f"{PATH}.part.aria2"
    with project.start("ghibli", *MODELS) as process:
        wait_until(lambda: server.bytes_sent > len(content) // 3 and control.exists())
        os.killpg(process.pid, end)
        process.communicate(timeout=30)
    assert not (project.models / PATH).exists()
    assert part.exists()
    server.seconds_per_chunk = 0.0
    server.requests.clear()

    done = project.run("ghibli", *MODELS)

    assert done.returncode == 0, done.stdout
    assert (project.models / PATH).read_bytes() == content
    assert server.requests[-1].start > 0  # aria2 asks for the size first, from the beginning
    assert not part.exists()


def test_a_part_without_its_record_is_fetched_anew(project, server, listed):
    listed()
    part = project.models / f"{PATH}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"\0" * len(MODEL))

    done = project.run("ghibli", *MODELS)

    assert done.returncode == 0, done.stdout
    assert (project.models / PATH).read_bytes() == MODEL


def test_a_second_run_at_the_same_time_is_turned_away(project, server, listed, wait_until):
    content = safetensors(bytes(2 * 1024 * 1024))
    listed(content)
    server.seconds_per_chunk = 0.05
    with project.start("ghibli", *MODELS) as first:
        wait_until(lambda: server.bytes_sent > 0)
        second = project.run("ghibli", *MODELS)
        output, _ = first.communicate(timeout=60)
    assert first.returncode == 0, output
    assert second.returncode == 1
    assert "another run is bringing models here" in second.stdout


@pytest.fixture
def volume(tmp_path: Path, project) -> Path:
    folder = tmp_path / "volume"
    (folder / "checkpoints").mkdir(parents=True)
    project.environment["COMFYUI_MODEL_DIRS"] = f"{tmp_path / 'nothing'},{folder}"
    return folder


def test_a_model_on_a_volume_is_used_from_there(project, server, listed, volume):
    listed()
    (volume / PATH).write_bytes(MODEL)

    done = project.run("ghibli", *MODELS)

    assert done.returncode == 0, done.stdout
    assert f"{PATH}: used from {volume / PATH}" in done.stdout
    assert server.requests == []
    assert (project.models / PATH).is_symlink()
    assert (project.models / PATH).samefile(volume / PATH)


def test_a_model_on_a_volume_is_verified(project, listed, volume):
    listed(checksum=sha256(MODEL))
    (volume / PATH).write_bytes(safetensors(b"other"))
    done = project.run("ghibli", *MODELS)
    assert done.returncode == 1
    assert f"Delete {volume / PATH} to fetch it anew" in done.stdout


def test_a_model_is_fetched_once_its_volume_is_gone(project, listed, volume):
    listed()
    (volume / PATH).write_bytes(MODEL)
    assert project.run("ghibli", *MODELS).returncode == 0
    (volume / PATH).unlink()

    done = project.run("ghibli", *MODELS)

    assert done.returncode == 0, done.stdout
    assert not (project.models / PATH).is_symlink()
    assert (project.models / PATH).read_bytes() == MODEL


def test_models_are_fetched_into_the_folder_that_was_asked_for(project, listed, volume):
    listed()
    done = project.run("ghibli", *MODELS, "--models-dir", str(volume))
    assert done.returncode == 0, done.stdout
    assert (volume / PATH).read_bytes() == MODEL


def run_with_token(project, server, token: str) -> subprocess.CompletedProcess[str]:
    folder = project.folder
    paths = {
        "--list": folder / "models.txt",
        "--lock": folder / "models.lock",
        "--models-dir": project.models,
        "--known": folder / "known.json",
    }
    options = [str(part) for pair in paths.items() for part in pair]
    return subprocess.run(
        [sys.executable, "-m", "provisioning.models", *options, "--groups", "ghibli"],
        cwd=folder,
        input=f"{server.host} {token}\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_token_is_sent_to_its_host_and_not_to_where_it_redirects(
    project, server, other_server, listed
):
    listed()
    other_server.files["/storage"] = MODEL
    server.tokens["/model.safetensors"] = "secret-token"
    server.redirects["/model.safetensors"] = other_server.address("/storage")

    done = run_with_token(project, server, "secret-token")

    assert done.returncode == 0, done.stderr
    assert {request.authorization for request in server.requests} == {"Bearer secret-token"}
    assert {request.authorization for request in other_server.requests} == {None}
    assert "secret-token" not in done.stdout + done.stderr


def test_a_token_goes_with_a_file_that_its_host_serves_itself(project, server, listed):
    listed()
    server.files["/moved"] = server.files.pop("/model.safetensors")
    server.redirects["/model.safetensors"] = "/moved"
    server.tokens |= {"/model.safetensors": "secret-token", "/moved": "secret-token"}
    done = run_with_token(project, server, "secret-token")
    assert done.returncode == 0, done.stderr
    assert (project.models / PATH).read_bytes() == MODEL


def test_a_token_that_is_refused_is_an_error_that_does_not_show_it(project, server, listed):
    listed()
    server.tokens["/model.safetensors"] = "another"
    done = run_with_token(project, server, "secret-token")
    assert done.returncode == 1
    assert "answered 401" in done.stderr
    assert "token is wrong, expired" in done.stderr
    assert "secret-token" not in done.stdout + done.stderr


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs Linux's /proc")
def test_tokens_are_not_seen_in_the_list_of_processes(project, server, listed, wait_until):
    listed(safetensors(bytes(1024 * 1024)))
    server.seconds_per_chunk = 0.1
    with project.start(
        "ghibli", *MODELS, HF_TOKEN="secret-token", CIVITAI_TOKEN="secret-two"
    ) as run:
        wait_until(lambda: server.bytes_sent > 0)
        lines = [file.read_bytes() for file in Path("/proc").glob("[0-9]*/cmdline")]
        output, _ = run.communicate(timeout=60)
    assert run.returncode == 0, output
    assert any(b"aria2c" in line for line in lines)
    assert not any(b"secret-" in line for line in lines)
    assert "secret-" not in output
