from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

NODES = ("--only", "nodes")
FETCH = (*NODES, "--fetch-only")


@pytest.fixture(autouse=True)
def _mirror(project, tmp_path):
    project.environment["NODE_PACKS_BASE_URL"] = f"file://{tmp_path / 'mirror'}"


@pytest.fixture(autouse=True)
def _comfyui(project):
    project.write(".comfyui/src/ComfyUI/comfyui_version.py", '__version__ = "0.3.75"\n')
    project.write(
        ".comfyui/src/ComfyUI/requirements.txt",
        "comfyui-frontend-package==1.32.9\nshared\n",
    )


@pytest.fixture
def listed(project, make_repository):
    """Make a repository for a node pack and pin it; return its commit."""

    def pin(
        name: str, requirements: str = "", *, groups: str = "classic", options: str = ""
    ) -> str:
        files = {"__init__.py": "NODE_CLASS_MAPPINGS = {}\n", "requirements.txt": requirements}
        commit = make_repository(f"someone/{name}", files)
        text = (project.folder / "node_packs.txt").read_text("utf-8")
        line = f"{groups}  someone/{name}  {commit}  {options}\n"
        project.write("node_packs.txt", f"{text}# a remark\n\n{line}")
        return commit

    return pin


def installed(environment: Path) -> dict[str, str]:
    done = subprocess.run(
        [environment / "bin" / "python", "-m", "pip", "list", "--format=freeze"],
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(line.split("==") for line in done.stdout.split())


def test_packs_of_the_profile_are_put_into_custom_nodes(project, listed):
    listed("pack-a")
    listed("pack-b", groups="depth,classic")
    listed("pack-c", groups="depth")

    done = project.run("all", *FETCH)
    assert done.returncode == 0, done.stdout
    names = {folder.name for folder in project.custom_nodes.iterdir()}
    assert names == {"pack-a", "pack-b", "pack-c"}
    assert not list(project.custom_nodes.glob("*/.git"))


@pytest.mark.parametrize(
    ("profile", "names"), [("demo", set()), ("ghibli", set()), ("ghibli-depth", {"pack-b"})]
)
def test_other_profiles_fetch_only_their_own_packs(project, listed, profile, names):
    listed("pack-a")
    listed("pack-b", groups="depth,classic")
    done = project.run(profile, *FETCH)
    assert done.returncode == 0, done.stdout
    found = project.custom_nodes.iterdir() if project.custom_nodes.exists() else ()
    assert {folder.name for folder in found} == names


def test_the_pinned_commit_is_taken_and_not_a_later_one(project, listed, make_repository):
    listed("pack-a")
    make_repository("someone/pack-a", {"__init__.py": "later = True\n"})
    done = project.run("all", *FETCH)
    assert done.returncode == 0, done.stdout
    assert "later" not in (project.custom_nodes / "pack-a" / "__init__.py").read_text("utf-8")


def test_a_second_run_fetches_nothing(project, listed, tmp_path):
    listed("pack-a")
    assert project.run("all", *FETCH).returncode == 0
    (tmp_path / "mirror").rename(tmp_path / "unreachable")
    done = project.run("all", *FETCH)
    assert done.returncode == 0, done.stdout


def test_a_new_pin_replaces_the_pack(project, listed, make_repository):
    commit = listed("pack-a")
    assert project.run("all", *FETCH).returncode == 0
    later = make_repository("someone/pack-a", {"__init__.py": "later = True\n"})
    packs = (project.folder / "node_packs.txt").read_text("utf-8")
    project.write("node_packs.txt", packs.replace(commit, later))

    done = project.run("all", *FETCH)

    assert done.returncode == 0, done.stdout
    assert "later" in (project.custom_nodes / "pack-a" / "__init__.py").read_text("utf-8")


def test_a_folder_of_the_users_own_is_never_replaced(project, listed):
    listed("pack-a")
    own = project.write(".comfyui/base/custom_nodes/pack-a/__init__.py", "mine = True\n")
    done = project.run("all", *FETCH)
    assert done.returncode == 1
    assert "pack-a is there, but not of this script's making. Move it away" in done.stdout
    assert own.read_text("utf-8") == "mine = True\n"


def test_a_commit_that_does_not_exist_is_an_error(project, listed):
    commit = listed("pack-a")
    packs = (project.folder / "node_packs.txt").read_text("utf-8")
    project.write("node_packs.txt", packs.replace(commit, "0" * 40))
    done = project.run("all", *FETCH)
    assert done.returncode == 1
    assert f"has no commit {'0' * 40}; correct node_packs.txt" in done.stdout
    assert not (project.custom_nodes / "pack-a").exists()


def test_a_branch_in_place_of_a_commit_is_refused(project, listed):
    commit = listed("pack-a")
    packs = (project.folder / "node_packs.txt").read_text("utf-8")
    project.write("node_packs.txt", packs.replace(commit, "main"))
    done = project.run("all", *FETCH)
    assert done.returncode == 1
    assert "someone/pack-a needs a commit of 40 hexadecimal digits" in done.stdout


def test_a_packs_model_folder_leads_to_the_models_folder(project, listed):
    listed("pack-a", options="link=ckpts:controlnet_aux")
    model = project.write(".comfyui/base/models/controlnet_aux/depth.pth", "weights")
    done = project.run("all", *FETCH)
    assert done.returncode == 0, done.stdout
    assert (project.custom_nodes / "pack-a" / "ckpts" / "depth.pth").samefile(model)


def test_packs_are_resolved_together_under_the_constraints(
    project, listed, environment, make_wheel
):
    for version in ("1.0", "2.0"):
        make_wheel("shared", version)
    make_wheel("onnxruntime", "1.31.1")
    make_wheel("opencv-python-headless", "4.14.0")
    make_wheel("opencv-python", "4.14.0")
    make_wheel("tool-a", "1.0", requires="shared>=1.0")
    project.write("constraints.txt", "shared==1.0\n")
    listed("pack-a", "tool-a\nopencv-python>=4.7\nmediapipe\n", options="without=mediapipe")
    listed(
        "pack-b", "shared>=1.0  # at least\nonnxruntime-gpu==1.20.0\nShared; python_version < '3'\n"
    )

    done = project.run("all", *NODES)

    assert done.returncode == 0, done.stdout
    versions = installed(environment)
    assert versions["shared"] == "1.0"
    assert versions["tool-a"] == "1.0"
    assert versions["opencv-python-headless"] == "4.14.0"
    assert versions["onnxruntime"] == "1.31.1"
    assert not {"opencv-python", "mediapipe"} & set(versions)
    again = project.run("all", *NODES)
    assert "requirements present" in again.stdout


def test_a_pack_that_wants_another_torch_is_named_before_anything_is_installed(
    project, listed, environment
):
    listed("pack-a", "torch==1.0\n")
    listed("pack-b", "shared\n")

    done = project.run("all", *NODES)

    assert done.returncode == 1
    assert "pack-a wants torch==1.0, but constraints.txt pins torch==2.14.1" in done.stdout
    assert "Pin a commit of the pack that accepts it" in done.stdout
    assert set(installed(environment)) == {"packaging", "pip", "setuptools"}


def test_packs_that_contradict_each_other_are_an_error_and_change_nothing(
    project, listed, environment, make_wheel
):
    for version in ("1.0", "2.0"):
        make_wheel("shared", version)
    make_wheel("onnxruntime", "1.31.1")
    listed("pack-a", "shared==1.0\n")
    listed("pack-b", "shared==2.0\n")

    done = project.run("all", *NODES)

    assert done.returncode == 1
    assert "the node packs' requirements do not fit together" in done.stdout
    assert set(installed(environment)) == {"packaging", "pip", "setuptools"}


def test_a_requirement_from_elsewhere_is_refused_by_the_packs_name(project, listed, environment):
    listed("pack-a", "git+https://example.org/tool.git\n")
    done = project.run("all", *NODES)
    assert done.returncode == 1
    assert "pack-a has a requirement that is not a name and versions: git+https" in done.stdout


def test_the_onnx_runtime_for_the_gpu_takes_the_place_of_the_other(
    project, environment, make_wheel, tmp_path
):
    make_wheel("shared", "1.0")
    make_wheel("onnxruntime", "1.31.1")
    make_wheel("onnxruntime-gpu", "1.31.1")
    make_wheel("torch", "2.14.1", source="class version:\n    cuda = None\n")
    python = environment / "bin" / "python"
    wheels = tmp_path / "wheels"
    pip = [python, "-m", "pip", "install", "--no-index", "--find-links", wheels, "torch"]
    subprocess.run(pip, env=project.environment, check=True)
    assert project.run("ghibli", *NODES).returncode == 0
    assert "onnxruntime" in installed(environment)
    torch = next(environment.glob("lib/*/site-packages/torch/__init__.py"))
    torch.write_text("class version:\n    cuda = '13.0'\n", "utf-8")

    done = project.run("ghibli", *NODES)

    assert done.returncode == 0, done.stdout
    assert "onnxruntime-gpu" in installed(environment)
    assert "onnxruntime" not in installed(environment)
