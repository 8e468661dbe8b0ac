"""A profile for each workflow: what the groups of its name list."""

from __future__ import annotations

import pytest
from provisioning_support.content import sha256

pytestmark = pytest.mark.slow

FETCH = ("--only", "nodes,models", "--fetch-only")


@pytest.fixture
def lists(project, make_repository, server, tmp_path):
    """Lists with a pack and a model of the workflow ``mine``, and of others."""
    project.environment["NODE_PACKS_BASE_URL"] = f"file://{tmp_path / 'mirror'}"
    packs = {
        name: make_repository(f"someone/{name}", {"__init__.py": ""})
        for name in ("pack-mine", "pack-both", "pack-other")
    }
    groups = {"pack-mine": "mine", "pack-both": "classic,mine", "pack-other": "classic"}
    lines = (f"{groups[name]}  someone/{name}  {commit}\n" for name, commit in packs.items())
    project.write("node_packs.txt", "".join(lines))
    entries = []
    for group in ("mine", "classic", "mine depth"):
        path = f"/{group.replace(' ', '-')}.pth"
        server.files[path] = group.encode()
        entries.append(
            f"# groups: {group}\n{server.address(path)}\n  dir=loras\n  out={path[1:]}\n"
            f"  checksum=sha-256={sha256(group.encode())}\n"
        )
    project.write("models.txt", "\n".join(entries))


def fetched(project) -> set[str]:
    folders = (project.custom_nodes, project.models / "loras")
    return {path.name for folder in folders if folder.exists() for path in folder.iterdir()}


@pytest.mark.usefixtures("lists")
def test_a_workflow_brings_the_models_and_packs_of_its_name(project):
    project.write("workflows/mine/manifest.toml", "")
    done = project.run("mine", *FETCH)
    assert done.returncode == 0, done.stdout
    assert fetched(project) == {"pack-mine", "pack-both", "mine.pth", "mine-depth.pth"}


@pytest.mark.usefixtures("lists")
def test_ghibli_classic_brings_the_group_classic(project):
    done = project.run("ghibli-classic", *FETCH)
    assert done.returncode == 0, done.stdout
    assert fetched(project) == {"pack-other", "pack-both", "classic.pth"}


@pytest.mark.usefixtures("lists")
@pytest.mark.parametrize("by", ["option", "variable"])
def test_workflows_may_be_in_another_folder(project, tmp_path, monkeypatch, by):
    (tmp_path / "elsewhere" / "mine").mkdir(parents=True)
    (tmp_path / "elsewhere" / "mine" / "manifest.toml").touch()
    monkeypatch.chdir(tmp_path)
    if by == "option":
        done = project.run("mine", *FETCH, "--workflows-dir", "elsewhere", WORKFLOWS_DIR="x")
    else:
        done = project.run("mine", *FETCH, WORKFLOWS_DIR="elsewhere")
    assert done.returncode == 0, done.stdout
    assert "pack-mine" in fetched(project)


def test_a_workflow_without_packs_and_models_is_no_error(project):
    project.write("workflows/mine/manifest.toml", "")
    done = project.run("mine", *FETCH)
    assert done.returncode == 0, done.stdout
    assert fetched(project) == set()


def test_an_unknown_name_is_an_error_that_names_the_workflows(project):
    project.write("workflows/mine/manifest.toml", "")
    project.write("workflows/yours/manifest.toml", "")
    project.write("workflows/no-workflow/notes.txt", "")
    done = project.run("mien", *FETCH)
    assert done.returncode == 1
    assert "provision.sh: unknown profile or option: mien." in done.stdout
    assert f"the workflows in {project.folder / 'workflows'}: mine yours\n" in done.stdout


def test_a_stage_of_the_image_that_has_no_workflows_takes_any_name(project):
    assert project.run("mine", *FETCH).returncode == 0
    done = project.run("mine", *FETCH, WORKFLOWS_DIR="nowhere")
    assert done.returncode == 1
    assert "nowhere: none" in done.stdout
