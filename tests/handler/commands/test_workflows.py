from __future__ import annotations

import json
import shutil

import pytest


@pytest.mark.parametrize("argv", [(), ("look",)])
def test_workflow_is_listed_with_all_that_a_caller_has_to_know(run, argv):
    status, out, _ = run("workflows", *argv)
    assert status == 0
    assert out.splitlines() == [
        "look (3): A look",
        "  Gives a photo a look.",
        "  See the licence of the look.",
        "  image  image: A photo.",
        "  image  mask, optional: A mask.",
        "  param  steps (integer 1 to 50, default 6): How many steps.",
        f"  param  seed (integer 0 to {2**64 - 1}, default drawn): Which noise.",
        '  param  sampler (euler | heun, default "euler"): Which sampler.',
        '  param  prompt (string, default "größer"): What to add.',
        "  model  loras/look.safetensors",
        "  model  controlnet/edges.safetensors, optional",
    ]


def test_workflows_are_listed_by_name_with_a_line_between(run, workflows):
    shutil.copytree(workflows / "look", workflows / "another")
    _, out, _ = run("workflows")
    first, second = out.strip().split("\n\n")
    assert first.startswith("another (3)")
    assert second.startswith("look (3)")


def test_only_the_named_workflow_is_listed(run, workflows):
    shutil.copytree(workflows / "look", workflows / "another")
    _, out, _ = run("workflows", "look", "--json")
    assert list(json.loads(out)) == ["look"]


def test_manifests_are_printed_as_json(run):
    status, out, _ = run("workflows", "--json")
    assert status == 0
    manifest = json.loads(out)["look"]
    assert manifest["version"] == "3"
    assert manifest["parameters"]["sampler"]["choices"] == ["euler", "heun"]
    assert manifest["models"][1]["optional"]


def test_unknown_workflow_is_told(run):
    status, out, err = run("workflows", "nope")
    assert (status, out) == (1, "")
    assert json.loads(err)["error"]["code"] == "unknown_workflow"


def test_broken_workflow_is_told_with_its_file(run, workflows):
    (workflows / "look" / "graph.json").write_text("{}")
    status, out, err = run("workflows")
    assert (status, out) == (1, "")
    assert "look/graph.json" in json.loads(err)["error"]["message"]
