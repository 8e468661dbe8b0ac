from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_runtime.errors import ParameterError, WorkflowError
from comfyui_runtime.workflow.graph import Graph, Node, check_links, parse_graph
from comfyui_runtime.workflow.images import PixelImage
from comfyui_runtime.workflow.manifest import Branch, ImageInput, Manifest, Workflow
from comfyui_runtime.workflow.patch import check_image_names, patch

PHOTO = PixelImage(np.zeros((2, 3, 3), np.uint8))
MASK = PixelImage(np.ones((2, 3, 3), np.uint8))


def node(class_type, **inputs):
    return {"class_type": class_type, "inputs": inputs}


# Two ControlNets in a row, each with a preprocessor; the photo feeds both and the sampler.
GRAPH = parse_graph(
    {
        "photo": node("LoadImage", image="photo.png"),
        "text": node("CLIPTextEncode", text="a cat"),
        "canny": node("Canny", image=["photo", 0]),
        "canny_net": node("ControlNetLoader", name="canny.safetensors"),
        "canny_on": node(
            "ControlNetApplyAdvanced",
            positive=["text", 0],
            negative=["text", 0],
            net=["canny_net", 0],
            image=["canny", 0],
            strength=0.5,
        ),
        "depth_model": node("DepthLoader", name="depth.safetensors"),
        "depth": node("Depth", image=["photo", 0], model=["depth_model", 0]),
        "depth_net": node("ControlNetLoader", name="depth.safetensors"),
        "depth_on": node(
            "ControlNetApplyAdvanced",
            positive=["canny_on", 0],
            negative=["canny_on", 1],
            net=["depth_net", 0],
            image=["depth", 0],
            strength=0.5,
        ),
        "sampler": node(
            "KSampler",
            positive=["depth_on", 0],
            negative=["depth_on", 1],
            pixels=["photo", 0],
            seed=0,
        ),
        "save": node("SaveImage", images=["sampler", 0]),
    }
)
BYPASS = {0: "positive", 1: "negative"}
CANNY = Branch(off_when={"canny": 0.0}, bypass={"canny_on": BYPASS})
DEPTH = Branch(off_when={"depth": 0.0}, bypass={"depth_on": BYPASS})
CANNY_NODES = {"canny", "canny_net", "canny_on"}
DEPTH_NODES = {"depth", "depth_model", "depth_net", "depth_on"}


def workflow(graph=GRAPH, **fields) -> Workflow:
    described = {"title": "T", "description": "D", "version": "1"}
    return Workflow("w", graph, Manifest.model_validate(described | fields), "digest")


def patched(branches, values=None, given=None, *, graph=GRAPH, **declared):
    whole = workflow(graph, branches=tuple(branches), **declared)
    return patch(whole, values or {}, given or {})


def nodes_after(branches, **values) -> set[str]:
    return set(patched(branches, {"canny": 1.0, "depth": 1.0} | values).graph.nodes)


def integer(*patches):
    return {
        "type": "integer",
        "default": 1,
        "minimum": 0,
        "maximum": 9,
        "description": "D",
        "patches": patches,
    }


def test_values_reach_every_input_that_their_parameter_names():
    parameters = {
        "strength": integer("canny_on.strength", "depth_on.strength"),
        "seed": integer("sampler.seed"),
        "tags": integer(),
    }
    values = {"strength": 3, "seed": 7, "tags": 1}
    graph = patched([], values, parameters=parameters).graph
    assert graph.nodes["canny_on"].inputs["strength"] == 3
    assert graph.nodes["depth_on"].inputs["strength"] == 3
    assert graph.nodes["sampler"].inputs["seed"] == 7
    assert graph.nodes["text"] == GRAPH.nodes["text"]


def test_workflow_itself_stays_as_it_was():
    before = copy.deepcopy(GRAPH)
    patched([CANNY, DEPTH], {"canny": 0.0, "depth": 0.0, "seed": 7})
    assert before == GRAPH


def test_branch_that_is_on_stays():
    assert nodes_after([CANNY, DEPTH]) == set(GRAPH.nodes)


def test_branch_that_is_off_goes_with_what_fed_it_alone():
    assert nodes_after([CANNY, DEPTH], depth=0.0) == set(GRAPH.nodes) - DEPTH_NODES
    assert nodes_after([CANNY, DEPTH], canny=0.0) == set(GRAPH.nodes) - CANNY_NODES


def test_what_took_a_bypassed_nodes_outputs_takes_its_stand_ins():
    graph = patched([DEPTH], {"depth": 0.0}).graph
    assert graph.nodes["sampler"].inputs["positive"] == ["canny_on", 0]
    assert graph.nodes["sampler"].inputs["negative"] == ["canny_on", 1]


@pytest.mark.parametrize("branches", [[CANNY, DEPTH], [DEPTH, CANNY]])
def test_branches_in_a_row_may_all_be_off_in_any_order(branches):
    graph = patched(branches, {"canny": 0.0, "depth": 0.0}).graph
    assert set(graph.nodes) == {"photo", "text", "sampler", "save"}
    assert graph.nodes["sampler"].inputs == {
        "positive": ["text", 0],
        "negative": ["text", 0],
        "pixels": ["photo", 0],
        "seed": 0,
    }


def test_one_branch_may_bypass_several_nodes_in_a_row():
    both = Branch(off_when={"canny": 0.0}, bypass={"canny_on": BYPASS, "depth_on": BYPASS})
    assert nodes_after([both], canny=0.0) == {"photo", "text", "sampler", "save"}


def test_node_that_two_branches_take_out_is_taken_out_once():
    again = Branch(off_when={"depth": 0.0}, bypass={"depth": {0: "image"}, "depth_on": BYPASS})
    assert nodes_after([DEPTH, again], depth=0.0) == set(GRAPH.nodes) - DEPTH_NODES


def test_node_that_something_else_still_needs_stays():
    api = GRAPH.to_api()
    api["sampler"]["inputs"]["guide"] = ["depth", 0]
    graph = patched([DEPTH], {"depth": 0.0}, graph=parse_graph(api)).graph
    assert set(graph.nodes) == set(GRAPH.nodes) - {"depth_net", "depth_on"}


def test_output_node_of_a_branch_that_is_off_keeps_what_it_shows():
    api = GRAPH.to_api() | {"preview": node("PreviewImage", images=["depth", 0])}
    graph = patched([DEPTH], {"depth": 0.0}, graph=parse_graph(api)).graph
    assert {"preview", "depth", "depth_model"} <= graph.nodes.keys()
    assert {"depth_net", "depth_on"}.isdisjoint(graph.nodes)


def test_node_that_fed_nothing_from_the_start_stays():
    api = GRAPH.to_api() | {"note": node("Note", text="hello")}
    graph = patched([CANNY, DEPTH], {"canny": 0.0, "depth": 0.0}, graph=parse_graph(api)).graph
    assert "note" in graph.nodes


def test_constant_may_stand_in_for_an_output():
    branch = Branch(off_when={"depth": 0.0}, bypass={"depth_on": {0: "strength", 1: "negative"}})
    graph = patched([branch], {"depth": 0.0}).graph
    assert graph.nodes["sampler"].inputs["positive"] == 0.5


def test_constant_set_in_place_of_a_link_frees_what_fed_it():
    branch = Branch(off_when={"depth": 0.0}, set={"depth_on.image": "none"})
    graph = patched([branch], {"depth": 0.0}).graph
    assert set(graph.nodes) == set(GRAPH.nodes) - {"depth", "depth_model"}
    assert graph.nodes["depth_on"].inputs["image"] == "none"


def test_set_on_a_node_that_an_earlier_branch_took_out_does_nothing():
    later = Branch(off_when={"depth": 0.0}, set={"depth.image": "none"})
    assert nodes_after([DEPTH, later], depth=0.0) == set(GRAPH.nodes) - DEPTH_NODES


def test_output_without_a_stand_in_leaves_a_link_dangling_and_is_refused():
    branch = Branch(off_when={"depth": 0.0}, bypass={"depth_on": {0: "positive"}})
    with pytest.raises(
        WorkflowError, match=r'^w: with these parameters: Input "negative"'
    ) as caught:
        patched([branch], {"depth": 0.0})
    assert caught.value.details == {"node_id": "sampler", "input": "negative"}


def test_cycle_made_by_a_set_link_is_refused():
    branch = Branch(off_when={"depth": 0.0}, set={"canny_on.image": ["depth_on", 0]})
    with pytest.raises(WorkflowError, match=r"^w: with these parameters: .* cycle"):
        patched([branch], {"depth": 0.0})


IMAGES = {
    "image": ImageInput(node="photo", description="A photo."),
    "mask": ImageInput(node="mask", description="A mask.", required=False),
}
MASKED = parse_graph(
    GRAPH.to_api()
    | {
        "mask": node("LoadImage", image="mask.png"),
        "cut": node("Cut", image=["sampler", 0], mask=["mask", 1]),
        "save": node("SaveImage", images=["cut", 0]),
    }
)
WITHOUT_MASK = Branch(without_image="mask", bypass={"cut": {0: "image"}})


def test_image_is_given_to_the_node_that_loads_it():
    images = {"image": PHOTO, "mask": MASK}
    result = patched([WITHOUT_MASK], {}, images, graph=MASKED, images=IMAGES)
    assert result.images == {"photo": PHOTO, "mask": MASK}
    assert set(result.graph.nodes) == set(MASKED.nodes)


def test_branch_of_an_image_that_was_not_given_goes_with_its_loader():
    result = patched([WITHOUT_MASK], {}, {"image": PHOTO}, graph=MASKED, images=IMAGES)
    assert set(result.graph.nodes) == set(GRAPH.nodes)
    assert result.graph.nodes["save"].inputs["images"] == ["sampler", 0]
    assert result.images == {"photo": PHOTO}


def test_image_whose_loader_is_not_needed_is_left_out():
    branch = Branch(off_when={"cut": 0}, bypass={"cut": {0: "image"}})
    images = {"image": PHOTO, "mask": MASK}
    result = patched([branch], {"cut": 0}, images, graph=MASKED, images=IMAGES)
    assert result.images == {"photo": PHOTO}


@pytest.mark.parametrize("names", [{"image"}, {"image", "mask"}])
def test_images_that_the_workflow_takes_are_accepted(names):
    check_image_names(workflow(images=IMAGES), names)


def test_missing_image_is_named_with_its_description():
    with pytest.raises(ParameterError, match=r'needs the image "image" \(A photo\.\)') as caught:
        check_image_names(workflow(images=IMAGES), {"mask"})
    assert caught.value.details == {"image": "image"}


def test_image_that_the_workflow_does_not_take_is_named():
    with pytest.raises(ParameterError, match=r'takes no image "photo".*image, mask') as caught:
        check_image_names(workflow(images=IMAGES), {"image", "photo"})
    assert caught.value.details == {"image": "photo", "allowed": ["image", "mask"]}


def test_image_given_to_a_workflow_without_images_is_named():
    with pytest.raises(ParameterError, match="It takes: none"):
        check_image_names(workflow(), {"image"})


@st.composite
def graphs_and_bypasses(draw) -> tuple[Graph, list[Branch], bool]:
    """A graph without cycles, branches that bypass nodes of it, and whether none is left open."""
    nodes = {}
    ids = [str(number) for number in range(draw(st.integers(2, 8)))]
    for position, node_id in enumerate(ids):
        constants = {"c": st.integers(0, 5)}
        links = st.tuples(st.sampled_from(ids[:position] or ["-"]), st.integers(0, 1)).map(list)
        inputs = draw(st.fixed_dictionaries(constants))
        if position:
            inputs |= draw(st.dictionaries(st.sampled_from("xyz"), links, max_size=3))
        nodes[node_id] = Node("A", inputs, "A")
    nodes["out"] = Node("Save", {"images": [draw(st.sampled_from(ids)), 0]}, "Save")
    complete = draw(st.booleans())
    outputs = st.just({0, 1}) if complete else st.sets(st.integers(0, 1))
    branches = [
        Branch(
            off_when={"off": True},
            bypass={
                node_id: {
                    output: draw(st.sampled_from(sorted(nodes[node_id].inputs)))
                    for output in draw(outputs)
                }
                for node_id in draw(st.lists(st.sampled_from(ids), unique=True, max_size=4))
            },
        )
        for _ in range(draw(st.integers(1, 3)))
    ]
    return Graph(nodes), branches, complete


@given(graphs_and_bypasses())
def test_whatever_is_bypassed_no_link_dangles_and_nothing_idles(drawn):
    graph, branches, complete = drawn
    before = copy.deepcopy(graph)
    try:
        after = patched(branches, {"off": True}, graph=graph).graph
    except WorkflowError:
        assert not complete
        return
    finally:
        assert graph == before
    check_links(after)
    bypassed = {node_id for branch in branches for node_id in branch.bypass}
    assert after.nodes.keys() <= graph.nodes.keys() - bypassed
    assert "out" in after.nodes
    fed_others = graph.linked_ids()
    assert graph.nodes.keys() - fed_others - bypassed <= after.nodes.keys()
    assert after.nodes.keys() & fed_others <= after.linked_ids()
