from __future__ import annotations

import re
import string
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import PROJECT

from listed_models.model_list import Model, ModelListError, parse_model_list

LIST = (PROJECT / "models.txt").read_text("utf-8")
NODE_PACKS = (PROJECT / "node_packs.txt").read_text("utf-8")

WORD = st.text(string.ascii_letters + string.digits + "._-", min_size=1).filter(
    lambda word: word.strip(".")
)
ENTRY = st.builds(
    Model,
    addresses=st.lists(WORD.map("https://host/{}".format), min_size=1, max_size=3).map(tuple),
    path=st.builds(PurePosixPath, WORD, WORD),
    sha256=st.none() | st.text("0123456789abcdef", min_size=64, max_size=64),
    groups=st.frozensets(st.sampled_from(["ghibli", "depth", "classic"]), min_size=1),
)


def written(models: list[Model]) -> str:
    lines = []
    for model in models:
        lines += [f"# groups: {' '.join(model.groups)}", "# a remark", "\t".join(model.addresses)]
        lines += [f"  dir={model.path.parent}", "", f"\tout={model.path.name}"]
        lines += [f"  checksum=sha-256={model.sha256.upper()}"] if model.sha256 else []
    return "\n".join(lines)


@given(st.lists(ENTRY, unique_by=lambda model: model.path))
def test_reads_back_what_was_written(models):
    assert parse_model_list(written(models)) == models


@given(st.text(alphabet="#=\t\n abcdirout:gps/.-1"))
def test_any_text_is_read_or_refused_by_line(text):
    refusal = "line 1: "
    try:
        parse_model_list(text)
    except ModelListError as error:
        refusal = str(error)
    assert re.match(r"line \d+: |.* is listed twice", refusal)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  dir=a\n", "line 1: expected name=value below an address"),
        ("# groups: a\nhttps://h/f\n  out=f\n", "line 2: the entry has no dir= option"),
        ("# groups: a\nhttps://h/f\n  dir=d\n", "line 2: the entry has no out= option"),
        ("# groups: a\nhttps://h/f\n  dir=../d\n  out=f\n", "line 2: ../d/f leaves the models"),
        ("# groups: a\nhttps://h/f\n  dir=/d\n  out=f\n", "line 2: /d/f leaves the models"),
        ("https://h/f\n  dir=d\n  out=f\n", "line 1: no '# groups:' line stands above d/f"),
        (
            "# groups: a\nhttps://h/f\n  dir=d\n  out=f\n  checksum=md5=00\n",
            "line 2: checksum= must be sha-256=",
        ),
        (
            "# groups: a\nhttps://h/f\n  dir=d\n  out=f\nhttps://h/g\n  dir=d\n  out=f\n",
            "d/f is listed twice",
        ),
    ],
)
def test_a_malformed_list_is_refused_with_its_line(text, message):
    with pytest.raises(ModelListError, match=re.escape(message)):
        parse_model_list(text)


def test_the_list_of_this_project_holds_every_file_of_its_workflows():
    paths = {
        group: {str(model.path) for model in parse_model_list(LIST) if group in model.groups}
        for group in ("ghibli", "classic")
    }
    for group in paths.values():
        assert group >= {
            "checkpoints/dreamshaperXL_sfwV2TurboDPMSDE.safetensors",
            "loras/StudioGhibli.Redmond-StdGBRRedmAF-StudioGhibli.safetensors",
            "controlnet/sai_xl_canny_256lora.safetensors",
            "controlnet/sai_xl_depth_256lora.safetensors",
            "wd14_tagger/wd-v1-4-moat-tagger-v2.onnx",
            "wd14_tagger/wd-v1-4-moat-tagger-v2.csv",
        }


def test_the_list_of_this_project_names_public_addresses_over_https():
    assert all(
        address.startswith("https://")
        for model in parse_model_list(LIST)
        for address in model.addresses
    )


def test_a_folder_that_comfyui_does_not_know_is_led_to_by_a_node_pack(comfyui_dir):
    known = {folder.name for folder in (comfyui_dir / "models").iterdir()}
    linked = set(re.findall(r"link=\S+:(\S+)", NODE_PACKS))
    folders = {model.path.parts[0] for model in parse_model_list(LIST)}
    assert folders <= known | linked
