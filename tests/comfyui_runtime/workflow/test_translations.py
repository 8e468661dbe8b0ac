from __future__ import annotations

import shutil

import pytest
from places import PROJECT

from comfyui_runtime.workflow.manifest import load_workflow
from comfyui_runtime.workflow.translations import load_translations

BUNDLED = PROJECT / "workflows"
TRANSLATED = sorted(path.parent.name for path in BUNDLED.glob("*/manifest.zh.toml"))


@pytest.fixture
def translated(tmp_path):
    """Return what is loaded where the workflow invert has a translation of this text."""
    shutil.copytree(PROJECT / "tests" / "workflows" / "invert", tmp_path / "invert")
    manifest = load_workflow(tmp_path, "invert").manifest

    def load(text: str, file: str = "manifest.zh.toml"):
        (tmp_path / "invert" / file).write_text(text, encoding="utf-8")
        return load_translations(tmp_path, "invert", manifest)

    return load


def test_bundled_workflows_are_translated():
    assert TRANSLATED


@pytest.mark.parametrize("name", TRANSLATED)
def test_bundled_translations_are_whole(name):
    manifest = load_workflow(BUNDLED, name).manifest
    words = load_translations(BUNDLED, name, manifest)["zh"]
    assert words.title
    assert words.description
    assert bool(words.license_note) == bool(manifest.license_note)
    assert words.images.keys() == manifest.images.keys()
    assert words.parameters.keys() == manifest.parameters.keys()


def test_words_are_found_by_language(translated):
    found = translated(
        'title = "反相"\n[images]\nimage = "照片。"\n'
        '[parameters.seed]\nlabel = "种子"\ndescription = "什么也不变。"\n'
    )
    assert found.keys() == {"zh"}
    words = found["zh"]
    assert (words.title, words.description) == ("反相", None)
    assert words.images == {"image": "照片。"}
    assert words.parameters["seed"].label == "种子"


def test_file_of_another_name_is_no_translation(translated):
    assert translated("nonsense", "manifest.backup-2.toml") == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("title = ", "manifest.zh.toml cannot be read as TOML"),
        ('titel = "x"', "manifest.zh.toml: titel: Extra inputs are not permitted."),
        (
            '[images]\nphoto = "x"\n[parameters.size]\nlabel = "x"\ndescription = "x"',
            "names what the manifest lacks: images.photo, parameters.size.",
        ),
    ],
)
def test_translation_that_cannot_be_used_is_left_out_and_logged(translated, caplog, text, problem):
    assert translated(text) == {}
    (record,) = caplog.records
    assert record.workflow == "invert"
    assert problem in record.error
