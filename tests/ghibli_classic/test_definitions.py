"""The workflow's files and the recorded definitions say the same of the packs."""

from __future__ import annotations

import hashlib
import json

import pytest
from places import PROJECT

from comfyui_runtime.in_process import comfy
from comfyui_runtime.workflow.graph import Link

# SHA-256 of the graph of the system that this one follows, as JSON with sorted keys and without
# spaces, the photo's address and the negative prompt emptied.
ORIGINAL_GRAPH = "d550f1e2f82b199d5fa7dbb8357626465b48cdb00defe9ee42ce4561da32d115"
LEFT_OUT = ("Tan skin", "dark skin", "black skin", "disabled", "amputation")


@pytest.fixture(scope="module")
def pinned_packs() -> dict[str, tuple[str, str]]:
    """Repository and commit of each pack that ``provision.sh all`` installs, by its name."""
    lines = (PROJECT / "node_packs.txt").read_text().splitlines()
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    return {row[1].partition("/")[2]: (row[1], row[2]) for row in rows}


def test_graph_is_the_original_node_for_node():
    graph = json.loads((PROJECT / "workflows" / "ghibli-classic" / "graph.json").read_text())
    del graph["32"]["inputs"]["resolution_steps"]  # newer releases require it
    graph["30"]["inputs"]["image"] = graph["7"]["inputs"]["text"] = ""
    text = json.dumps(graph, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(text.encode()).hexdigest() == ORIGINAL_GRAPH


def test_terms_that_name_what_people_are_are_in_neither_text_and_in_the_documentation(classic):
    default = classic.manifest.parameters["negative_prompt"].default
    assert default == classic.graph.nodes["7"].inputs["text"]
    terms = {term.strip().lower() for term in default.split(",")}
    page = (PROJECT / "docs" / "ghibli-classic.md").read_text()
    for term in LEFT_OUT:
        assert term.lower() not in terms
        assert f"`{term}`" in page


def test_every_class_that_comfyui_lacks_names_its_pack_and_is_recorded(classic, recorded, booted):
    needed = {node.class_type for node in classic.graph.nodes.values()}
    missing = needed - comfy.node_class_names()
    assert missing == set(classic.manifest.node_packs) == set(recorded)


def test_recorded_definitions_are_of_the_packs_and_commits_that_are_installed(
    classic, recorded, pinned_packs
):
    for name, pack in classic.manifest.node_packs.items():
        source = recorded[name].source
        assert (source.repository, source.commit) == pinned_packs[pack]


def test_every_model_is_one_that_is_fetched(classic):
    text = (PROJECT / "models.txt").read_text()
    for model in classic.manifest.models:
        assert f"  dir={model.folder}\n  out={model.file}\n" in text


def test_photo_takes_the_place_of_a_node_whose_only_used_output_is_an_image(classic, recorded):
    node_id = classic.manifest.images["image"].node
    used = {
        link.output
        for node in classic.graph.nodes.values()
        for _, link in node.links()
        if link.node_id == node_id
    }
    assert used == {0}
    assert recorded[classic.graph.nodes[node_id].class_type].outputs[0] == "IMAGE"
    assert Link(node_id, 0) in [link for _, link in classic.graph.nodes["31"].links()]
