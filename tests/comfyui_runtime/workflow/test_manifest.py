from __future__ import annotations

import itertools
import json

import pytest
from places import PROJECT

from comfyui_runtime.errors import UnknownWorkflowError, WorkflowError
from comfyui_runtime.workflow.files import InputFile
from comfyui_runtime.workflow.graph import check_links
from comfyui_runtime.workflow.manifest import (
    Branch,
    InputRef,
    Model,
    branch_is_off,
    load_workflow,
    workflow_names,
)
from comfyui_runtime.workflow.parameters import resolve_parameters
from comfyui_runtime.workflow.patch import patch

BUNDLED = PROJECT / "workflows"

GRAPH = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "photo.png"}},
    "2": {"class_type": "ImageBlur", "inputs": {"image": ["1", 0], "sigma": 1.0}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0]}},
}
HEAD = """
title = "Blur"
description = "Blurs a photo."
version = "2"
"""
SIGMA = """
[parameters.sigma]
type = "number"
default = 1.0
minimum = 0
maximum = 5
description = "How much."
patches = ["2.sigma"]
"""


@pytest.fixture
def write(tmp_path):
    """Write a workflow's two files; text for the graph is written as it is."""

    def write_files(manifest=HEAD, graph=GRAPH, name="blur"):
        place = tmp_path / name
        place.mkdir(exist_ok=True)
        (place / "manifest.toml").write_text(manifest)
        (place / "graph.json").write_text(graph if isinstance(graph, str) else json.dumps(graph))
        return place

    return write_files


@pytest.fixture
def broken(write, tmp_path):
    """Write a workflow that is wrong and return the error that it gives."""

    def load(*args, **kwargs) -> WorkflowError:
        write(*args, **kwargs)
        with pytest.raises(WorkflowError) as caught:
            load_workflow(tmp_path, "blur")
        return caught.value

    return load


def test_whole_manifest_is_read(write, tmp_path):
    write(
        HEAD
        + """
license_note = "See its page."
[images.image]
node = "1"
description = "A photo."
[images.mask]
node = "1"
description = "A mask."
required = false
"""
        + SIGMA
        + """
[[branches]]
off_when = { sigma = 0.0 }
bypass = { "2" = { 0 = "image" } }
[[branches]]
without_image = "mask"
set = { "2.sigma" = 0.5 }
[[models]]
folder = "checkpoints"
file = "x.safetensors"
optional = true
[node_packs]
ImageBlur = "some-pack"
"""
    )
    workflow = load_workflow(tmp_path, "blur")
    manifest = workflow.manifest
    assert workflow.name == "blur"
    assert workflow.graph.nodes.keys() == GRAPH.keys()
    assert (manifest.title, manifest.version) == ("Blur", "2")
    assert manifest.license_note == "See its page."
    assert manifest.images["image"].required
    assert not manifest.images["mask"].required
    assert manifest.parameters["sigma"].maximum == 5
    assert manifest.branches == (
        Branch(off_when={"sigma": 0.0}, bypass={"2": {0: "image"}}),
        Branch(without_image="mask", set={"2.sigma": 0.5}),
    )
    assert manifest.models == (Model(folder="checkpoints", file="x.safetensors", optional=True),)
    assert manifest.node_packs == {"ImageBlur": "some-pack"}


def test_names_are_those_of_folders_with_a_manifest_sorted(write, tmp_path):
    write(name="b")
    write(name="a")
    (tmp_path / "empty").mkdir()
    (tmp_path / "manifest.toml").touch()
    assert workflow_names(tmp_path) == ["a", "b"]
    assert workflow_names(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../blur", "sub/../blur", "blur/", "/blur", "Blur", "blur\n", "blur\0", "nope"],
)
def test_unknown_name_lists_what_is_installed_and_reads_nothing_else(write, tmp_path, name):
    write()
    (tmp_path / "sub").mkdir()
    folder = tmp_path / "sub" / ".." if name == "nope" else tmp_path
    with pytest.raises(UnknownWorkflowError, match="Installed: blur") as caught:
        load_workflow(folder, name)
    assert caught.value.details == {"allowed": ["blur"]}


def test_workflow_outside_the_folder_cannot_be_named(write, tmp_path):
    outside = write()
    inside = tmp_path / "workflows"
    inside.mkdir()
    for name in ("../blur", str(outside), "..", "."):
        with pytest.raises(UnknownWorkflowError, match="Installed: none"):
            load_workflow(inside, name)


def test_folder_whose_name_no_event_may_use_says_so(write, tmp_path):
    write(name="My Blur")
    with pytest.raises(WorkflowError, match=r"My Blur.*lower-case"):
        load_workflow(tmp_path, "My Blur")


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        ("title = ", "is not TOML"),
        ("x = " + "[" * 100_000, "is not TOML"),
        (HEAD + "titel = 1", "titel: Extra inputs are not permitted"),
        ('title = "T"\nversion = "1"', "description: Field required"),
        (HEAD.replace('"2"', "2"), "version: Input should be a valid string"),
        (HEAD + SIGMA.replace("1.0", "6.0"), "sigma: the default must be from 0 to 5"),
        (HEAD + SIGMA.replace('"number"', '"numbr"'), "parameters.sigma: "),
        (HEAD + SIGMA + "rnage = 1", "parameters.sigma.number.rnage: Extra inputs"),
    ],
)
def test_wrong_manifest_is_named_with_the_place(broken, manifest, expected):
    message = broken(manifest).message
    assert message.startswith("blur/manifest.toml")
    assert expected in message
    assert ": :" not in message


def test_manifest_that_is_no_text_is_named(write, tmp_path):
    (write() / "manifest.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(WorkflowError, match=r"blur/manifest\.toml is not TOML"):
        load_workflow(tmp_path, "blur")


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        ("{", "cannot be read as JSON"),
        ("", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("[]", "not in ComfyUI's API format"),
        ({}, "has no nodes"),
        ({"nodes": [], "links": []}, "editor's format"),
        ({"1": {"class_type": "A", "inputs": {"x": ["9", 0]}}}, "node 9"),
    ],
)
def test_wrong_graph_is_named(broken, graph, expected):
    message = broken(graph=graph).message
    assert message.startswith("blur/graph.json")
    assert expected in message


def test_cycle_is_named_with_its_file_and_nodes(broken):
    a = {"class_type": "A", "inputs": {"x": ["2", 0]}}
    b = {"class_type": "B", "inputs": {"x": ["1", 0]}}
    error = broken(graph={"1": a, "2": b})
    assert error.message.startswith("blur/graph.json: The graph has a cycle: ")
    assert set(error.details["nodes"]) == {"1", "2"}


def test_missing_graph_is_named(write, tmp_path):
    (write() / "graph.json").unlink()
    with pytest.raises(WorkflowError, match=r"blur/graph\.json cannot be read"):
        load_workflow(tmp_path, "blur")


def test_manifest_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "blur" / "manifest.toml").mkdir(parents=True)
    with pytest.raises(WorkflowError, match=r"blur/manifest\.toml cannot be read: Is a directory"):
        load_workflow(tmp_path, "blur")


OPTIONAL_MASK = """
[images.mask]
node = "1"
description = "A mask."
required = false
"""


def clip(table="files.clip", **fields):
    given = {"node": "1", "media": "video", "description": "A clip."} | fields
    return f"[{table}]\n" + "".join(f"{key} = {json.dumps(given[key])}\n" for key in given)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ('[images.image]\nnode = "9"\ndescription = "A photo."', "image image names node 9"),
        (SIGMA.replace("2.sigma", "9.sigma"), "names node 9, which the graph lacks"),
        (SIGMA.replace("2.sigma", "2.sigmo"), "node 2 has the inputs image, sigma"),
        (SIGMA.replace("2.sigma", "2"), 'names "2", but node 2 has the inputs'),
        ('[[branches]]\nbypass = { "2" = { 0 = "image" } }', "branch 0 needs off_when or"),
        ("[[branches]]\noff_when = { sigmo = 0 }", "parameter sigmo, which is not declared"),
        ('[[branches]]\nwithout_image = "mask"', "image mask, which is not declared"),
        (
            SIGMA + '[[branches]]\noff_when = { sigma = 0 }\nset = { "9.x" = 1 }',
            "branch 0 names node 9, which the graph lacks",
        ),
        (
            SIGMA + '[[branches]]\noff_when = { sigma = 0 }\nbypass = { "9" = { 0 = "image" } }',
            "branch 0 bypasses node 9, which the graph lacks",
        ),
        (
            SIGMA + '[[branches]]\noff_when = { sigma = 0 }\nbypass = { "9" = {} }',
            "branch 0 bypasses node 9, which the graph lacks",
        ),
        (
            SIGMA + '[[branches]]\noff_when = { sigma = 0 }\nbypass = { "2" = { 0 = "pixels" } }',
            "node 2 has the inputs image, sigma",
        ),
        (
            SIGMA + '[[branches]]\noff_when = { sigma = 0 }\nbypass = { "2" = { x = "image" } }',
            "valid integer",
        ),
        (
            SIGMA + "[[branches]]\noff_when = { sigma = 6 }",
            "never off: parameter sigma must be from 0 to 5",
        ),
        (
            SIGMA + '[[branches]]\noff_when = { sigma = "0" }',
            "never off: parameter sigma must be a number",
        ),
        (OPTIONAL_MASK, "image mask is optional, but no branch"),
        (clip(node="9"), "file clip names node 9, which the graph lacks"),
        (clip(node="2"), "add the name of its input that takes the file's name, as input"),
        (clip(node="2", input="file"), 'names "2.file", but node 2 has the inputs'),
        (clip(media="film"), "Input should be 'video', 'audio' or 'file'"),
        (clip(input="image", required=False), "file clip is optional, but no branch"),
        ("[[branches]]\nwithout_file = 'x'", "names file x, which is not declared"),
        (OPTIONAL_MASK + clip("files.mask", input="image"), "mask is both an image and a file"),
    ],
)
def test_manifest_that_names_what_is_not_there_is_refused(broken, more, expected):
    message = broken(HEAD + more).message
    assert message.startswith("blur/manifest.toml: ")
    assert expected in message


def test_digest_changes_with_either_file_and_with_nothing_else(write, tmp_path):
    write()
    first = load_workflow(tmp_path, "blur").digest
    write(name="other")
    assert load_workflow(tmp_path, "blur").digest == first
    assert load_workflow(tmp_path, "other").digest == first
    write(manifest=HEAD + "# a remark\n")
    second = load_workflow(tmp_path, "blur").digest
    write(graph=json.dumps(GRAPH, indent=1))
    third = load_workflow(tmp_path, "blur").digest
    assert len({first, second, third}) == 3
    assert all(len(digest) == 64 for digest in (first, second, third))


@pytest.mark.parametrize(
    ("text", "node_id", "name"),
    [("2.sigma", "2", "sigma"), ("57:8.a.b", "57:8", "a.b"), ("2", "2", ""), ("", "", "")],
)
def test_input_reference_ends_its_node_id_at_the_first_dot(text, node_id, name):
    assert InputRef.parse(text) == InputRef(node_id, name)


@pytest.mark.parametrize(
    ("branch", "values", "images", "off"),
    [
        (Branch(off_when={"a": 0}), {"a": 0.0}, set(), True),
        (Branch(off_when={"a": 0}), {"a": 0.1}, set(), False),
        (Branch(off_when={"a": 0, "b": "x"}), {"a": 0, "b": "y"}, set(), False),
        (Branch(off_when={"a": 0, "b": "x"}), {"a": 0, "b": "x"}, set(), True),
        (Branch(off_when={"a": False}), {"a": False}, set(), True),
        (Branch(without_image="mask"), {}, {"image"}, True),
        (Branch(without_image="mask"), {}, {"image", "mask"}, False),
        (Branch(off_when={"a": 0}, without_image="mask"), {"a": 0}, {"mask"}, False),
        (Branch(off_when={"a": 0}, without_image="mask"), {"a": 1}, set(), False),
        (Branch(off_when={"a": 0}, without_image="mask"), {"a": 0}, set(), True),
    ],
)
def test_branch_is_off_when_all_its_conditions_are_met(branch, values, images, off):
    assert branch_is_off(branch, values, images) is off


@pytest.mark.parametrize("name", workflow_names(BUNDLED) or ["no workflow is bundled"])
def test_bundled_workflow_loads_and_holds_together_whichever_branches_are_off(name):
    workflow = load_workflow(BUNDLED, name)
    defaults = resolve_parameters(workflow.manifest.parameters, {})
    branches = workflow.manifest.branches
    images = dict.fromkeys(workflow.manifest.images)
    for chosen in itertools.product([False, True], repeat=len(branches)):
        values, given = dict(defaults), dict(images)
        for branch in itertools.compress(branches, chosen):
            values |= branch.off_when
            given.pop(branch.without_image, None)
        check_links(patch(workflow, values, given).graph)


def test_an_optional_file_that_is_not_given_takes_its_branch_out(tmp_path):
    graph = {
        "1": {"class_type": "LoadVideo", "inputs": {"file": "a.mp4"}},
        "2": {"class_type": "Mix", "inputs": {"video": ["1", 0], "amount": 1}},
        "3": {"class_type": "SaveVideo", "inputs": {"video": ["2", 0]}},
    }
    manifest = clip(required=False) + (
        '[[branches]]\nwithout_file = "clip"\nset = { "2.video" = "none" }\n'
    )
    (tmp_path / "mix").mkdir()
    (tmp_path / "mix" / "graph.json").write_text(json.dumps(graph))
    (tmp_path / "mix" / "manifest.toml").write_text(HEAD + manifest)
    workflow = load_workflow(tmp_path, "mix")
    given = InputFile(tmp_path / "0", "d1", "mkv")
    patched = patch(workflow, {}, {}, {"clip": given})
    assert patched.files["1"].place == "d1.mkv"
    without = patch(workflow, {}, {}, {})
    assert without.files == {}
    assert "1" not in without.graph.nodes


@pytest.mark.parametrize(
    ("class_type", "given", "place"),
    [
        ("LoadVideo", "file", "d1.mp4"),
        ("Load3D", "model_file", "3d/d1.mp4"),
        ("VHS_LoadVideoPath", "video", "d1.mp4"),
        ("SomePacksLoader", "path", "d1.mp4"),
    ],
)
def test_each_loader_finds_the_file_where_it_looks(tmp_path, class_type, given, place):
    graph = {"1": {"class_type": class_type, "inputs": {given: "a"}}}
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "graph.json").write_text(json.dumps(graph))
    (tmp_path / "one" / "manifest.toml").write_text(HEAD + clip(input=given))
    workflow = load_workflow(tmp_path, "one")
    use = patch(workflow, {}, {}, {"clip": InputFile(tmp_path / "0", "d1", "mp4")}).files["1"]
    assert (use.loader.input, use.place) == (given, place)
