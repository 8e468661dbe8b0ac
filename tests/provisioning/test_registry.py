"""Node packs of ComfyUI's registry, which a server on loopback stands in for."""

from __future__ import annotations

import io
import json
import zipfile

import pytest
from provisioning_support.content import sha256

pytestmark = pytest.mark.slow

FETCH = ("all", "--only", "nodes", "--fetch-only")
FILES = {"__init__.py": "NODE_CLASS_MAPPINGS = {}\n", "py/nodes.py": "", "requirements.txt": ""}


def archive(files: dict[str, str], *, symlink: bool = False) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as packed:
        for name, text in files.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = (0o120777 if symlink else 0o100644) << 16
            packed.writestr(member, text)
    return content.getvalue()


@pytest.fixture
def publish(server, project):
    """Publish a release of a pack in the registry; return its archive's sha256."""
    project.environment["COMFYUI_REGISTRY_URL"] = server.address("")

    def make(version: str, content: bytes, *, name: str = "some-pack") -> str:
        download = f"/archives/{name}/{version}.zip"
        answer = {"version": version, "downloadUrl": server.address(download)}
        server.files[f"/nodes/{name}/install?version={version}"] = json.dumps(answer).encode()
        server.files[download] = content
        return sha256(content)

    return make


def listed(project, line: str = "registry:some-pack 1.2.3") -> None:
    project.write("node_packs.txt", f"classic  {line}\n")


def test_a_release_is_unpacked_and_its_sha256_recorded(project, publish):
    digest = publish("1.2.3", archive(FILES))
    listed(project)
    done = project.run(*FETCH)
    assert done.returncode == 0, done.stdout
    pack = project.custom_nodes / "some-pack"
    assert {path: (pack / path).read_text("utf-8") for path in FILES} == FILES
    assert f"some-pack@1.2.3: sha256 {digest}, recorded in node_packs.lock" in done.stdout
    lock = (project.folder / "node_packs.lock").read_text("utf-8")
    assert lock == f"{digest}  some-pack@1.2.3\n"


def test_a_second_run_fetches_nothing_and_a_new_version_replaces_the_pack(project, publish, server):
    publish("1.2.3", archive(FILES))
    listed(project)
    assert project.run(*FETCH).returncode == 0
    asked = len(server.requests)
    again = project.run(*FETCH)
    assert "some-pack: present at 1.2.3" in again.stdout
    assert len(server.requests) == asked

    publish("2.0", archive({"__init__.py": "later = True\n"}))
    listed(project, "registry:some-pack 2.0")
    done = project.run(*FETCH)

    assert done.returncode == 0, done.stdout
    pack = project.custom_nodes / "some-pack"
    assert "later" in (pack / "__init__.py").read_text("utf-8")
    assert not (pack / "py").exists()


@pytest.mark.parametrize("where", ["node_packs.lock", "node_packs.txt"])
def test_another_archive_than_the_recorded_one_is_refused(project, publish, where):
    digest = publish("1.2.3", archive(FILES))
    if where == "node_packs.lock":
        listed(project)
        project.write("node_packs.lock", f"{'0' * 64}  some-pack@1.2.3\n")
    else:
        listed(project, f"registry:some-pack 1.2.3 sha256={'0' * 64}")
    done = project.run(*FETCH)
    assert done.returncode == 1
    assert f"has sha256 {digest}, but {where} says {'0' * 64}" in done.stdout
    assert not (project.custom_nodes / "some-pack").exists()


@pytest.mark.parametrize(
    ("name", "symlink"),
    [
        ("../outside.py", False),
        ("/outside.py", False),
        ("a\\..\\outside.py", False),
        ("link", True),
    ],
)
def test_an_archive_that_would_write_elsewhere_is_refused(
    project, publish, tmp_path, name, symlink
):
    publish("1.2.3", archive({name: "target"}, symlink=symlink))
    listed(project)
    done = project.run(*FETCH)
    assert done.returncode == 1
    assert "leaves the pack's folder or is no file" in done.stdout
    assert not (project.custom_nodes / "some-pack").exists()
    assert not list(tmp_path.rglob("outside.py"))
    assert (project.folder / "node_packs.lock").read_text("utf-8") == ""


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "answered 404; correct the pack's id and version"),
        (b"<html>", "does not name an archive of some-pack@1.2.3"),
        (b'{"version": "1.2.3"}', "does not name an archive of some-pack@1.2.3"),
        (b'{"version": "1.3", "downloadUrl": "x"}', "the registry has some-pack 1.3, not 1.2.3"),
        (
            b'{"version": "1.2.3", "downloadUrl": "http://example.org/a.zip"}',
            "http://example.org/a.zip is not an https address",
        ),
        (
            b'{"version": "1.2.3", "downloadUrl": "file:///etc/passwd"}',
            "file:///etc/passwd is not an https address",
        ),
    ],
)
def test_an_answer_without_the_release_is_an_error(project, publish, server, answer, message):
    publish("1.2.3", archive(FILES))
    if answer is None:
        server.files.clear()
    else:
        server.files["/nodes/some-pack/install?version=1.2.3"] = answer
    listed(project)
    done = project.run(*FETCH)
    assert done.returncode == 1
    assert message in done.stdout
    assert not (project.custom_nodes / "some-pack").exists()


def test_what_is_no_archive_is_an_error(project, publish):
    publish("1.2.3", b"no archive")
    listed(project)
    done = project.run(*FETCH)
    assert done.returncode == 1
    assert "the archive of some-pack@1.2.3 cannot be unpacked" in done.stdout


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("registry:some-pack latest", "registry:some-pack needs a version"),
        ("registry:../pack 1.2.3", "registry:../pack names no pack"),
        ("registry: 1.2.3", "registry: names no pack"),
        (f"someone/.. {'0' * 40}", "someone/.. names no pack"),
    ],
)
def test_a_line_of_another_form_is_an_error(project, line, message):
    listed(project, line)
    done = project.run(*FETCH)
    assert done.returncode == 1
    assert f"node_packs.txt: {message}" in done.stdout


def test_two_packs_for_one_folder_are_an_error(project, publish):
    publish("1.2.3", archive(FILES))
    line = "classic  registry:some-pack  1.2.3\n"
    project.write("node_packs.txt", f"{line}classic  someone/some-pack  {'0' * 40}\n")
    done = project.run(*FETCH)
    assert done.returncode == 1
    assert "two packs want the folder custom_nodes/some-pack" in done.stdout
