"""What becomes of a graph that an event brings, up to the workflow that it is."""

from __future__ import annotations

import contextlib
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_runtime.errors import GraphError
from comfyui_runtime.workflow.graph import parse_graph
from handler.job.caller_graph import CALLER_GRAPH, caller_graph, caller_workflow


def load(image: object, class_type: str = "LoadImage", **more: object) -> dict[str, object]:
    return {"class_type": class_type, "inputs": {"image": image, **more}}


def save(node_id: str, output: int = 0) -> dict[str, object]:
    return {"class_type": "SaveImage", "inputs": {"images": [node_id, output]}}


def workflow(**nodes):
    return caller_workflow(parse_graph({name.removeprefix("n"): n for name, n in nodes.items()}))


def images(found) -> dict[str, str]:
    return {name: image.node for name, image in found.manifest.images.items()}


def test_images_are_those_that_loaders_name():
    found = workflow(n1=load("a.png"), n2=load("sub/b.jpg [input]"), n3=save("1"), n4=save("2"))
    assert found.name == CALLER_GRAPH
    assert images(found) == {"a.png": "1", "sub/b.jpg": "2"}
    assert all(image.required for image in found.manifest.images.values())
    assert found.manifest.parameters == {}


def test_one_image_for_several_loaders_is_loaded_once():
    found = workflow(n1=load("a.png"), n2=load("a.png"), n3=save("1"), n4=save("2"))
    assert images(found) == {"a.png": "1"}
    assert set(found.graph.nodes) == {"1", "3", "4"}
    assert found.graph.nodes["4"].inputs["images"] == ["1", 0]


def test_loader_whose_picture_nobody_takes_needs_none():
    assert images(workflow(n1=load("a.png"), n2=load("b.png"), n3=save("1"))) == {"a.png": "1"}


def test_mask_loader_takes_the_same_picture():
    found = workflow(
        n1=load("a.png"),
        n2=load("a.png", "LoadImageMask", channel="alpha"),
        n3=save("1"),
        n4={"class_type": "MaskToImage", "inputs": {"mask": ["2", 0]}},
    )
    assert images(found) == {"a.png": "1"}
    assert found.graph.nodes["4"].inputs["mask"] == ["1", 1]


def test_mask_loader_of_a_colour_takes_that_channel_of_the_picture():
    found = workflow(
        n2=load("a.png", "LoadImageMask", channel="red"),
        n4={"class_type": "MaskToImage", "inputs": {"mask": ["2", 0]}},
    )
    assert images(found) == {"a.png": "2:image"}
    assert found.graph.nodes["2"].class_type == "ImageToMask"
    assert found.graph.nodes["2"].inputs == {"image": ["2:image", 0], "channel": "red"}
    assert found.graph.nodes["4"].inputs["mask"] == ["2", 0]


def test_digest_and_version_follow_from_the_graph():
    first = workflow(n1=load("a.png"), n3=save("1"))
    again = workflow(n3=save("1"), n1=load("a.png"))
    other = workflow(n1=load("b.png"), n3=save("1"))
    assert first.digest == again.digest != other.digest
    assert first.manifest.version == first.digest[:12]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"1": 5}, "API format"),
        ({"1": {"inputs": {}}}, "class_type"),
        ({"1": {"class_type": "A", "inputs": {"x": ["2", 0]}}}, "linked to node 2"),
        ({"1": {"class_type": "A", "inputs": {"x": ["1", 0]}}}, "cycle"),
        ({"prompt": {"1": load("a.png")}}, "API format"),
        ({"nodes": [], "links": []}, "only where ComfyUI runs"),
        ({"nodes": [5], "links": []}, "only where ComfyUI runs"),
    ],
)
def test_what_is_no_graph_is_the_callers_to_mend(data, text):
    with pytest.raises(GraphError, match=text) as caught:
        caller_graph(data, None)
    assert (caught.value.code, caught.value.http_status) == ("invalid_graph", 422)


@pytest.mark.parametrize("nodes", [[5], [{"id": 1}], [{"type": "A"}], "x", {"1": 2}])
def test_damaged_file_of_the_editors_is_refused(nodes):
    with pytest.raises(GraphError):
        caller_graph({"nodes": nodes, "links": []}, lambda _: {})


def test_values_that_are_nested_without_end_are_refused():
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(GraphError):
        caller_graph({"1": {"class_type": "A", "inputs": {"x": deep}}}, None)


node_ids = st.sampled_from(["1", "2", "3", "4", "5"])
links = st.tuples(node_ids, st.integers(0, 1)).map(list)
loaders = st.builds(
    load,
    st.sampled_from(["a.png", "b.png", "a.png [input]"]),
    st.sampled_from(["LoadImage", "LoadImageMask"]),
    channel=st.sampled_from(["alpha", "red"]),
)
takers = st.fixed_dictionaries(
    {
        "class_type": st.just("ImageBlend"),
        "inputs": st.dictionaries(st.sampled_from(["image1", "image2"]), links, max_size=2),
    }
)


@given(st.dictionaries(node_ids, loaders | takers, min_size=1))
def test_whatever_graph_comes_its_links_still_lead_somewhere(data):
    try:
        found = caller_workflow(caller_graph(data, None))
    except GraphError:
        return
    for node in found.graph.nodes.values():
        assert all(link.node_id in found.graph.nodes for _, link in node.links())
    takers_before = {key for key, node in data.items() if node["class_type"] == "ImageBlend"}
    assert takers_before <= set(found.graph.nodes)
    for image in found.manifest.images.values():
        assert found.graph.nodes[image.node].class_type == "LoadImage"
    parse_graph(json.loads(json.dumps(found.graph.to_api())))


def test_graph_of_loaders_alone_makes_nothing():
    with pytest.raises(GraphError, match="makes nothing"):
        workflow(n1=load("a.png"))


def nested(levels: int) -> dict[str, object]:
    """A file whose root holds two subgraphs, each of which holds two, and so on."""

    def graph(level: int) -> dict[str, object]:
        inner = "A" if level == levels else f"level-{level + 1}"
        nodes = [{"id": number, "type": inner, "inputs": [], "outputs": []} for number in (1, 2)]
        return {"nodes": nodes, "links": [], "inputs": [], "outputs": []}

    definitions = [
        {"id": f"level-{level}", "name": f"level {level}", **graph(level)}
        for level in range(1, levels + 1)
    ]
    return {**graph(0), "definitions": {"subgraphs": definitions}}


def test_subgraphs_that_unfold_without_end_are_refused_at_once():
    assert len(caller_graph(nested(3), lambda _: {}).nodes) == 16
    started = time.perf_counter()
    with pytest.raises(GraphError, match="20000 nodes"):
        caller_graph(nested(60), lambda _: {})
    assert time.perf_counter() - started < 5


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
SAVED_FIELDS = ("mode", "inputs", "outputs", "widgets_values", "properties", "title")
saved_nodes = st.fixed_dictionaries(
    {"id": st.integers(1, 4) | json_values, "type": st.sampled_from(["A", "sub", "Reroute"])},
    optional=dict.fromkeys(SAVED_FIELDS, json_values),
)
saved_links = st.lists(st.integers(0, 4), min_size=5, max_size=5).map(lambda link: [*link, "X"])
saved_graphs = st.fixed_dictionaries(
    {
        "nodes": st.lists(saved_nodes, max_size=4),
        "links": st.lists(saved_links | json_values, max_size=3),
    }
)


@given(
    saved_graphs,
    st.none()
    | saved_graphs.map(lambda graph: {"subgraphs": [{"id": "sub", "name": "x", **graph}]})
    | json_values,
)
def test_damaged_file_of_the_editors_is_converted_or_refused(graph, definitions):
    with contextlib.suppress(GraphError):
        caller_workflow(caller_graph({**graph, "definitions": definitions}, lambda _: {}))
