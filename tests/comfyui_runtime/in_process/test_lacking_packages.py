from __future__ import annotations

from pathlib import Path

import pytest

from comfyui_runtime.in_process.lacking_packages import lacking_packages


@pytest.fixture
def pack(tmp_path):
    def make(requirements: str) -> Path:
        folder = tmp_path / "some_pack"
        folder.mkdir()
        (folder / "requirements.txt").write_text(requirements)
        return folder

    return make


def test_failure_of_another_kind_names_no_package(pack):
    assert lacking_packages(pack("numpy\n"), "name 'x' is not defined") == ""


def test_pack_without_requirements_has_its_module_named():
    assert lacking_packages(Path("single.py"), "No module named 'fancy.part'") == (
        ' It imports the package "fancy", which its requirements.txt does not list.'
    )


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("cv2", "opencv-contrib-python>=99"),
        ("PIL", "Pillow>=999"),
        ("segment_anything", "segment-anything>=99"),
    ],
)
def test_line_that_provides_the_module_is_quoted(pack, module, line):
    said = lacking_packages(pack(f"{line}\n"), f"No module named '{module}'")
    assert f'the package "{module}", listed as "{line}".' in said


def test_lines_that_are_installed_or_do_not_apply_or_name_nothing_are_passed_over(pack):
    text = 'numpy\nnumpy>999\nfancy; python_version < "3"\n--extra-index-url https://x.test\n\n'
    assert lacking_packages(pack(text), "") == (
        " Of its requirements.txt these are not installed: numpy>999. "
        "Install them: pip install -r some_pack/requirements.txt."
    )
