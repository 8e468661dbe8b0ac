from __future__ import annotations

import json
from pathlib import Path

import pytest

from provisioning.snapshot import Pack, SnapshotError, merge, read_snapshot

A, B, C = "a" * 40, "b" * 40, "c" * 40


def git(commit: str = A, *, disabled: bool = False) -> dict[str, object]:
    return {"hash": commit, "disabled": disabled}


SNAPSHOT = {
    "comfyui": C,
    "git_custom_nodes": {
        "https://github.com/Someone/pack-a": git(),
        "https://github.com/someone/pack-b.git": git(B),
        "git@github.com:someone/pack-c.git": git(),
        "https://gitlab.example.org/group/sub/pack-d.git": git(),
        "https://github.com/someone/pack-off": git(disabled=True),
        "https://github.com/someone/pack-loose": git(""),
        "https://github.com/ltdrdata/ComfyUI-Manager.git": git(),
    },
    "cnr_custom_nodes": {
        "pack-e": "1.10",
        "pack-nightly": "nightly",
        "comfyui-manager": "3.38",
    },
    "file_custom_nodes": [
        {"filename": "single.py", "disabled": False},
        {"filename": "off.py.disabled", "disabled": True},
    ],
    "pips": {"numpy==2.0": ""},
}
LOCK = f"""
basic:
models: []
custom_nodes:
  comfyui: {C}
  file_custom_nodes:
  - disabled: false
    filename: single.py
  git_custom_nodes:
    https://github.com/someone/pack-a:
      disabled: false
      hash: {A}
    https://github.com/someone/pack-off:
      disabled: true
      hash: {A}
  cnr_custom_nodes:
    pack-e: 1.10
"""
PACKS = (
    Pack("Someone/pack-a", A),
    Pack("someone/pack-b", B),
    Pack("someone/pack-c", A),
    Pack("https://gitlab.example.org/group/sub/pack-d", A),
    Pack("registry:pack-e", "1.10"),
)


@pytest.fixture
def written(tmp_path):
    def write(content: object, name: str = "snapshot.json") -> Path:
        text = content if isinstance(content, str) else json.dumps(content)
        file = tmp_path / name
        file.write_text(text, "utf-8")
        return file

    return write


def test_enabled_packs_are_pinned_and_the_manager_is_left_out(written):
    snapshot = read_snapshot(written(SNAPSHOT))
    assert snapshot.packs == PACKS
    assert snapshot.comfyui == C


def test_what_cannot_be_pinned_is_named_with_what_to_do(written):
    unpinned = read_snapshot(written(SNAPSHOT)).unpinned
    assert [text.partition(": ")[0] for text in unpinned] == [
        "someone/pack-loose",
        "registry:pack-nightly",
        "single.py",
    ]
    assert "look one up at its repository" in unpinned[0]
    assert "https://registry.comfy.org/nodes/pack-nightly" in unpinned[1]
    assert "copy it to custom_nodes/ yourself" in unpinned[2]


def test_a_comfy_lock_is_read(written):
    snapshot = read_snapshot(written(LOCK, "comfy-lock.yaml"))
    assert snapshot.packs == (Pack("someone/pack-a", A), Pack("registry:pack-e", "1.10"))
    assert [text.partition(": ")[0] for text in snapshot.unpinned] == ["single.py"]


@pytest.mark.parametrize("address", ["https://github.com/someone", "C:\\packs\\mine", ""])
def test_an_address_of_no_repository_is_named(written, address):
    snapshot = read_snapshot(written({"git_custom_nodes": {address: git()}}))
    assert snapshot.packs == ()
    assert len(snapshot.unpinned) == 1


@pytest.mark.parametrize("content", ["{}", "[]", "text", "a: [", '{"nodes": []}'])
def test_a_file_that_is_no_snapshot_is_refused(written, content):
    with pytest.raises(SnapshotError, match=r"snapshot\.json is neither"):
        read_snapshot(written(content))


def test_packs_are_added_below_what_is_listed():
    text = f"# Packs\n\nclassic  someone/else  {C}  without=x\n\n# The end.\n"
    merged, remarks = merge(text, "mine", PACKS)
    added = [f"mine  {pack.source}  {pack.pin}" for pack in PACKS]
    assert merged == text + "\n".join(added) + "\n"
    assert remarks == [f"{pack.source} {pack.pin}: added" for pack in PACKS]


def test_a_listed_pack_keeps_its_pin_and_options_and_gets_the_group():
    text = f"classic  someone/Pack-A  {B}  link=a:b\nclassic,mine  registry:pack-e  1.10\n"
    merged, remarks = merge(text, "mine", (PACKS[0], PACKS[4]))
    assert merged == text.replace("classic  someone", "classic,mine  someone")
    assert remarks == [
        f"someone/Pack-A {B}: listed, and kept; the snapshot has Someone/pack-a {A}",
        "registry:pack-e 1.10: listed",
    ]


def test_a_second_merge_changes_nothing():
    once, _ = merge("", "mine", PACKS)
    assert merge(once, "mine", PACKS)[0] == once


@pytest.mark.slow
@pytest.mark.parametrize("name", ["snapshot.json", "comfy-lock.yaml"])
def test_a_snapshots_packs_are_listed_and_installed(
    project, make_repository, tmp_path, written, monkeypatch, name
):
    commit = make_repository("someone/pack-a", {"__init__.py": ""})
    project.environment["NODE_PACKS_BASE_URL"] = f"file://{tmp_path / 'mirror'}"
    project.write("comfyui_releases.txt", f"0.30.0 {C}\n")
    content = {"comfyui": C, "git_custom_nodes": {"https://github.com/someone/pack-a": git(commit)}}
    written(content if name.endswith("json") else {"custom_nodes": content}, name)
    monkeypatch.chdir(tmp_path)
    nodes = ("--only", "nodes", "--fetch-only")

    done = project.run("--snapshot", name, *nodes)

    assert done.returncode == 0, done.stdout
    listed = (project.folder / "node_packs.txt").read_text("utf-8")
    assert listed == f"snapshot  someone/pack-a  {commit}\n"
    assert (project.custom_nodes / "pack-a" / "__init__.py").exists()
    assert f"the snapshot's ComfyUI is at {C}: --comfyui 0.30.0 takes it" in done.stdout
    again = project.run("snapshot", *nodes)
    assert "pack-a: present" in again.stdout


@pytest.mark.slow
def test_a_snapshot_given_with_a_workflow_is_the_workflows(project, written):
    project.write("workflows/mine/manifest.toml", "")
    file = written({"cnr_custom_nodes": {"pack-e": "1.10"}})
    done = project.run("mine", "--snapshot", str(file), "--only", "torch", "--fetch-only")
    assert done.returncode == 0, done.stdout
    listed = (project.folder / "node_packs.txt").read_text("utf-8")
    assert listed == "mine  registry:pack-e  1.10\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "message"), [(None, "there is no file"), ("{}", "snapshot.json is neither")]
)
def test_a_file_that_is_no_snapshot_ends_the_run(project, written, tmp_path, content, message):
    file = tmp_path / "snapshot.json"
    if content is not None:
        written(content)
    done = project.run("--snapshot", str(file), "--fetch-only")
    assert done.returncode == 1
    assert message in done.stdout
    assert not (project.folder / ".comfyui").exists()
