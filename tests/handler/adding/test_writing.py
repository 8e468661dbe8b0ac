"""What is written, and what a second run leaves as a person made it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from comfyui_runtime.workflow.graph import Graph, Node
from handler.adding.analysis import Addition
from handler.adding.errors import WorkflowFileError
from handler.adding.folder import workflow_files
from handler.adding.lists import with_models, with_packs
from handler.adding.merge import merged
from handler.adding.models import NamedModel
from handler.adding.packs import NamedPack
from handler.adding.parameters import DraftParameter
from listed_models.model_list import parse_model_list


def parameter(name, default):
    fields = {"type": "integer", "default": default, "minimum": 0, "maximum": 100}
    return DraftParameter(name, f"What {name} does.", fields, (f"1.{name}",))


GRAPH = Graph({"1": Node("Sample", {"steps": 1, "cfg": 2, "size": 3}, "Sample")})
ADDITION = Addition(
    name="hills",
    title="Hills",
    description="Hills as they were saved.",
    graph=GRAPH,
    images=(),
    files=(),
    parameters=(parameter("steps", 1), parameter("cfg", 2)),
    models=(),
    packs=(),
    missing=(),
    saved_with=None,
    refused=(),
    other_media={},
    warnings=(),
)


@pytest.fixture
def folder(tmp_path):
    workflow_files(tmp_path, ADDITION).write(tmp_path)
    return tmp_path


def manifest_path(folder):
    return folder / "hills" / "manifest.toml"


def again(folder, addition):
    files = workflow_files(folder, addition)
    files.write(folder)
    return files.workflow.manifest


def test_second_run_without_changes_writes_the_same(folder):
    before = manifest_path(folder).read_text()
    again(folder, ADDITION)
    assert manifest_path(folder).read_text() == before


def test_second_run_keeps_the_tables_that_a_person_changed_and_renews_the_others(folder):
    text = manifest_path(folder).read_text()
    text = text.replace("maximum = 100", "maximum = 12", 1)
    text = text.replace("[parameters.steps]", "# Twelve is plenty.\n[parameters.steps]")
    manifest_path(folder).write_text(text)
    newer = replace(ADDITION, parameters=(parameter("steps", 5), parameter("cfg", 6)))
    manifest = again(folder, newer)
    assert manifest.parameters["steps"].maximum == 12
    assert manifest.parameters["steps"].default == 1
    assert manifest.parameters["cfg"].default == 6
    assert "# Twelve is plenty." in manifest_path(folder).read_text()


def test_second_run_keeps_out_what_a_person_took_out_and_adds_what_is_new(folder):
    text = manifest_path(folder).read_text()
    manifest_path(folder).write_text(text[: text.index("[parameters.cfg]")])
    newer = replace(ADDITION, parameters=(*ADDITION.parameters, parameter("size", 3)))
    assert list(again(folder, newer).parameters) == ["steps", "size"]


def test_changes_are_kept_over_any_number_of_runs(folder):
    text = manifest_path(folder).read_text().replace("Hills as they were saved.", "My hills.")
    manifest_path(folder).write_text(text)
    again(folder, ADDITION)
    assert again(folder, ADDITION).description == "My hills."


def test_graph_that_a_person_changed_is_kept(folder):
    path = folder / "hills" / "graph.json"
    path.write_text(path.read_text().replace('"steps": 1', '"steps": 9'))
    files = workflow_files(folder, ADDITION)
    assert files.kept_graph
    assert files.workflow.graph.nodes["1"].inputs["steps"] == 9


def test_folder_that_add_did_not_write_is_left_alone(folder):
    (folder / "hills" / ".added.json").unlink()
    with pytest.raises(WorkflowFileError, match="--name"):
        workflow_files(folder, ADDITION)


def test_table_headers_in_a_text_do_not_part_it():
    old = 'title = "x"\n\n[parameters.a]\ndefault = """\n[not a table]\n"""\n'
    assert merged(old, old.replace("not a", "no"), old) == old.replace("not a", "no")


URL = "https://huggingface.co/o/r/resolve/main/m.safetensors"
MODELS = [
    NamedModel("text_encoders", "m.safetensors", URL, "a" * 64),
    NamedModel("clip", "sub\\n.safetensors", URL.replace("m.", "n.")),
    NamedModel("loras", "unknown.safetensors"),
]


def test_models_are_listed_as_provisioning_reads_them_and_never_twice():
    listed = with_models("# The models.\n", "hills", MODELS)
    assert [(str(one.path), one.sha256, one.groups) for one in parse_model_list(listed)] == [
        ("text_encoders/m.safetensors", "a" * 64, {"hills"}),
        ("text_encoders/sub/n.safetensors", None, {"hills"}),
    ]
    assert with_models(listed, "other", MODELS) == listed


def test_packs_are_pinned_where_the_commit_is_known_and_never_twice():
    packs = [
        NamedPack("one", "owner/one", "b" * 40, ("A",)),
        NamedPack("two", "owner/two", "1.2.3", ("B",)),
    ]
    listed = with_packs("# GROUPS OWNER/REPOSITORY COMMIT\n", "hills", packs)
    assert listed.splitlines()[1:] == [f"hills  owner/one  {'b' * 40}"]
    assert with_packs(listed, "other", packs) == listed
