from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from places import TESTS

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


@pytest.fixture
def _builds(make_wheel):
    """What every installation of packs brings."""
    make_wheel("shared", "1.0")
    make_wheel("onnxruntime", "1.31.1")
    make_wheel("opencv-python-headless", "4.14.0")


@pytest.fixture
def tool(make_repository):
    """Make a repository that holds the distribution ``tool``; return its commit."""
    backend = (TESTS / "provisioning_support" / "build_backend.py").read_text("utf-8")
    build = "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
    files = {"pyproject.toml": build, "backend.py": backend, "tool.py": "VALUE = 1\n"}
    return make_repository("someone/tool-source", files, tag="v1")


def installed(environment: Path) -> dict[str, str]:
    done = subprocess.run(
        [environment / "bin" / "python", "-m", "pip", "list", "--format=freeze"],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = (line for line in done.stdout.splitlines() if "==" in line or " @ " in line)
    return dict(re.split("==| @ ", line) for line in lines)


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


@pytest.mark.usefixtures("_builds")
def test_packs_are_resolved_together_under_the_constraints(
    project, listed, environment, make_wheel
):
    for version in ("1.0", "2.0"):
        make_wheel("shared", version)
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


@pytest.mark.usefixtures("_builds")
def test_packs_that_contradict_each_other_are_an_error_and_change_nothing(
    project, listed, environment, make_wheel
):
    for version in ("1.0", "2.0"):
        make_wheel("shared", version)
    listed("pack-a", "shared==1.0\n")
    listed("pack-b", "shared==2.0\n")

    done = project.run("all", *NODES)

    assert done.returncode == 1
    assert "the node packs' requirements do not fit together" in done.stdout
    assert set(installed(environment)) == {"packaging", "pip", "setuptools"}


@pytest.mark.parametrize(
    ("requirement", "message"),
    [
        ("--find-links https://example.org", "not a name and versions: --find-links https"),
        (
            "git+ssh://git@github.com/a/tool",
            "requires git+ssh://git@github.com/a/tool: only git+https",
        ),
        ("tool @ git+https://token@github.com/a/tool", "without a login, is fetched from git"),
        ("tool @ git+file:///tmp/tool", "requires tool @ git+file:///tmp/tool: only git+https"),
    ],
)
def test_a_requirement_from_elsewhere_is_refused_by_the_packs_name(
    project, listed, environment, requirement, message
):
    listed("pack-a", f"{requirement}\n")
    done = project.run("all", *NODES)
    assert done.returncode == 1
    assert "provision.sh: pack-a " in done.stdout
    assert message in done.stdout


TOOL = "git+https://github.com/someone/tool-source"


@pytest.mark.usefixtures("_builds")
@pytest.mark.parametrize(
    "requirement",
    ["tool @ {tool}@{commit}", "{tool}@{commit}", "-e {tool}.git@{commit}#egg=tool"],
)
def test_a_requirement_on_a_commit_is_fetched_from_the_mirror_and_installed(
    project, listed, environment, tool, tmp_path, requirement
):
    (tmp_path / "mirror/someone/tool-source.git").symlink_to("tool-source")
    listed("pack-a", requirement.format(tool=TOOL, commit=tool) + "\n")
    done = project.run("all", *NODES)
    assert done.returncode == 0, done.stdout
    assert "tool" in installed(environment)
    assert "no commit" not in done.stdout
    (tmp_path / "mirror").rename(tmp_path / "unreachable")
    again = project.run("all", *NODES)
    assert again.returncode == 0, again.stdout
    assert "requirements present" in again.stdout


@pytest.mark.usefixtures("_builds")
@pytest.mark.parametrize(("ref", "shown"), [("@v1", "v1"), ("", "HEAD")])
def test_a_requirement_on_what_can_move_is_installed_with_a_note(
    project, listed, environment, tool, ref, shown
):
    listed("pack-a", f"tool @ {TOOL}{ref}\n")
    done = project.run("all", *NODES)
    assert done.returncode == 0, done.stdout
    assert "tool" in installed(environment)
    assert (
        f"pack-a requires {TOOL.removeprefix('git+')} at {shown}, which is no commit" in done.stdout
    )


@pytest.mark.usefixtures("_builds")
@pytest.mark.parametrize(
    "requirement",
    [
        "tool @ git+https://github.com/someone/nowhere",
        "git+https://github.com/someone/Tool.git",
        "git+https://github.com/someone/nowhere#egg=tool",
        "tool @ git+https://github.com/someone/nowhere ; python_version > '3'",
    ],
)
def test_a_requirement_from_git_is_left_out_by_its_name_or_its_repositorys(
    project, listed, environment, requirement
):
    listed("pack-a", f"{requirement}\n", options="without=tool")
    done = project.run("all", *NODES)
    assert done.returncode == 0, done.stdout
    assert "tool" not in installed(environment)


def test_a_requirement_from_git_that_is_gone_is_an_error_that_names_the_pack(project, listed):
    listed("pack-a", "git+https://github.com/someone/nowhere@v1\n")
    done = project.run("all", *FETCH)
    assert done.returncode == 1
    assert "pack-a requires" in done.stdout
    assert "could not be fetched" in done.stdout


@pytest.mark.usefixtures("tool")
def test_a_requirement_from_git_in_place_of_a_pinned_package_is_refused(
    project, listed, environment
):
    listed("pack-a", f"torch @ {TOOL}@v1\n")
    done = project.run("all", *NODES)
    assert done.returncode == 1
    assert "pack-a wants torch from https://github.com/someone/tool-source" in done.stdout
    assert "constraints.txt pins torch==2.14.1" in done.stdout


def test_the_files_of_submodules_are_fetched(project, listed, make_repository, tmp_path):
    inner = make_repository("someone/inner", {"inner.py": "VALUE = 1\n"})
    listed("pack-a")
    folder = tmp_path / "mirror" / "someone" / "pack-a"
    address = "https://github.com/someone/inner"
    modules = f'[submodule "inner"]\n\tpath = inner\n\turl = {address}\n'
    (folder / "inner").mkdir()
    (folder / ".gitmodules").write_text(modules, "utf-8")
    entry = ["update-index", "--add", "--cacheinfo", f"160000,{inner},inner"]
    subprocess.run(["git", *entry], cwd=folder, check=True)
    later = make_repository("someone/pack-a", {"later.py": ""})
    text = (project.folder / "node_packs.txt").read_text("utf-8")
    project.write("node_packs.txt", re.sub("[0-9a-f]{40}", later, text))

    done = project.run("all", *FETCH, GIT_ALLOW_PROTOCOL="file")

    assert done.returncode == 0, done.stdout
    pack = project.custom_nodes / "pack-a"
    assert (pack / "inner" / "inner.py").exists()
    assert not list(pack.rglob(".git"))


@pytest.mark.usefixtures("_builds")
def test_opencv_contrib_takes_the_place_of_every_other_build_where_a_pack_needs_it(
    project, listed, environment, make_wheel
):
    make_wheel("opencv-contrib-python-headless", "4.14.0")
    make_wheel("opencv-python", "4.14.0")
    make_wheel("tool-a", "1.0", requires="opencv-python")
    listed("pack-a", "opencv-python\ntool-a\n")
    listed("pack-b", "opencv-contrib-python>=4\n", groups="depth")
    assert project.run("ghibli-depth", *NODES).returncode == 0
    assert opencv_builds(environment) == {"opencv-contrib-python-headless"}

    done = project.run("all", *NODES)

    assert done.returncode == 0, done.stdout
    assert "tool-a" in installed(environment)
    assert opencv_builds(environment) == {"opencv-contrib-python-headless"}


@pytest.mark.usefixtures("_builds")
def test_plain_opencv_is_replaced_when_a_later_pack_needs_contrib(
    project, listed, environment, make_wheel
):
    make_wheel("opencv-contrib-python-headless", "4.14.0")
    listed("pack-a", "opencv-python\n")
    assert project.run("all", *NODES).returncode == 0
    assert opencv_builds(environment) == {"opencv-python-headless"}
    listed("pack-b", "opencv-contrib-python-headless\n")

    done = project.run("all", *NODES)

    assert done.returncode == 0, done.stdout
    assert "opencv-contrib-python-headless takes the place of opencv-python-headless" in done.stdout
    assert opencv_builds(environment) == {"opencv-contrib-python-headless"}


def opencv_builds(environment: Path) -> set[str]:
    return {name for name in installed(environment) if name.startswith("opencv")}


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

    torch.write_text("class version:\n    cuda = '12.6'\n", "utf-8")
    done = project.run("ghibli", *NODES)
    assert done.returncode == 0, done.stdout
    assert "onnxruntime takes the place of onnxruntime-gpu" in done.stdout
    assert "onnxruntime-gpu" not in installed(environment)
