from __future__ import annotations

import copy
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_runtime.errors import WorkflowError
from comfyui_runtime.workflow.graph import Graph, Link, Node, as_link, parse_graph

IDS = ["1", "2", "3", "57:8"]

any_text = st.text(st.characters(), max_size=8)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=12,
)
constants = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
).filter(lambda value: as_link(value) is None)


@st.composite
def graphs(draw) -> Graph:
    """Links lead only to nodes that come earlier, so that there is no cycle."""
    nodes = {}
    for position, node_id in enumerate(IDS[: draw(st.integers(1, len(IDS)))]):
        values = constants
        if position:
            values |= st.tuples(st.sampled_from(IDS[:position]), st.integers(0, 3)).map(list)
        nodes[node_id] = Node(
            draw(st.text(min_size=1, max_size=8)),
            draw(st.dictionaries(st.text(max_size=4), values, max_size=3)),
            draw(st.text(min_size=1, max_size=8)),
        )
    return Graph(nodes)


def node(class_type="A", title=None, **inputs):
    return {"class_type": class_type, "inputs": inputs} | (
        {"_meta": {"title": title}} if title is not None else {}
    )


def test_nodes_carry_class_inputs_links_and_title():
    graph = parse_graph(
        {
            "4": node("Load", "My loader", name="x.safetensors"),
            "7": node("Mix", first=["4", 0], second=["4", 1], by=0.5),
        }
    )
    assert graph.nodes["4"] == Node("Load", {"name": "x.safetensors"}, "My loader")
    assert dict(graph.nodes["7"].links()) == {"first": Link("4", 0), "second": Link("4", 1)}
    assert graph.linked_ids() == {"4"}


@pytest.mark.parametrize(
    "meta", [{}, {"_meta": {}}, {"_meta": {"title": None}}, {"_meta": {"title": ""}}]
)
def test_node_without_a_title_is_called_by_its_class(meta):
    graph = parse_graph({"1": {"class_type": "KSampler", "inputs": {}} | meta})
    assert graph.nodes["1"].title == "KSampler"


def test_fields_that_comfyui_ignores_are_ignored():
    graph = parse_graph({"1": node() | {"is_changed": [1], "_meta": {"title": "T", "more": 1}}})
    assert graph.to_api() == {"1": node(title="T")}


def test_node_without_inputs_has_none():
    assert parse_graph({"1": {"class_type": "A"}}).nodes["1"].inputs == {}


@pytest.mark.parametrize(
    "value",
    [["1"], ["1", 0, 0], ["1", "0"], ["1", True], ["1", 0.5], [1, 0], {"1": 0}, "1", [], None],
)
def test_only_a_node_id_with_an_output_index_is_a_link(value):
    assert as_link(value) is None


def test_editor_format_is_refused_with_the_way_to_the_right_one():
    with pytest.raises(WorkflowError, match=r"Export \(API\)"):
        parse_graph({"nodes": [{"id": 1, "type": "KSampler"}], "links": [], "version": 0.4})


@pytest.mark.parametrize("data", [None, [], "graph", 5, [node()]])
def test_what_is_no_object_is_refused(data):
    with pytest.raises(WorkflowError, match="API format: at top level"):
        parse_graph(data)


@pytest.mark.parametrize(
    ("broken", "place"),
    [
        ({}, "1.class_type"),
        ({"class_type": ""}, "1.class_type"),
        ({"class_type": 5}, "1.class_type"),
        ({"class_type": "A", "inputs": []}, "1.inputs"),
        ({"class_type": "A", "_meta": {"title": 5}}, "1._meta.title"),
        ("A", "1"),
    ],
)
def test_broken_node_is_refused_and_its_place_named(broken, place):
    with pytest.raises(WorkflowError) as caught:
        parse_graph({"0": node(), "1": broken})
    assert f"at {place}: " in caught.value.message


def test_graph_without_nodes_is_refused():
    with pytest.raises(WorkflowError, match="has no nodes"):
        parse_graph({})


def test_link_to_nowhere_is_refused_and_both_ends_named():
    with pytest.raises(WorkflowError, match=r'"mask" of node 2 \(Cut\) .* node 9') as caught:
        parse_graph({"1": node(), "2": node(title="Cut", image=["1", 0], mask=["9", 0])})
    assert caught.value.details == {"node_id": "2", "input": "mask"}


def test_cycle_is_refused_and_named_in_the_order_of_the_links():
    with pytest.raises(WorkflowError) as caught:
        parse_graph(
            {
                "0": node(),
                "a": node(x=["c", 0], y=["0", 0]),
                "b": node(x=["a", 0]),
                "c": node(x=["b", 0]),
                "d": node(x=["c", 0]),
            }
        )
    nodes = caught.value.details["nodes"]
    assert nodes[0] == nodes[-1]
    assert set(nodes) == {"a", "b", "c"}
    assert set(itertools.pairwise(nodes)) == {("a", "b"), ("b", "c"), ("c", "a")}
    assert " -> ".join(nodes) in caught.value.message


def test_node_linked_to_itself_is_a_cycle():
    with pytest.raises(WorkflowError, match="cycle: 1 -> 1"):
        parse_graph({"1": node(x=["1", 0])})


def test_graph_of_thousands_of_nodes_in_a_row_is_read():
    data = {"0": node()} | {str(n): node(x=[str(n - 1), 0]) for n in range(1, 5000)}
    assert len(parse_graph(data).nodes) == 5000


def test_input_nested_too_deeply_is_refused():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(WorkflowError, match="API format"):
        parse_graph({"1": node(x=deep)})


@given(graphs())
def test_graph_written_as_api_format_and_read_again_is_the_same(graph):
    assert parse_graph(graph.to_api()) == graph


@given(any_json | st.dictionaries(any_text, st.dictionaries(any_text, any_json, max_size=3)))
def test_arbitrary_json_is_a_graph_or_a_workflow_error(data):
    try:
        graph = parse_graph(data)
    except WorkflowError as error:
        assert error.message  # noqa: PT017 - either outcome is right
    else:
        assert graph.nodes


@given(
    st.dictionaries(
        st.sampled_from(IDS),
        st.fixed_dictionaries(
            {"class_type": st.just("A")},
            optional={
                "inputs": st.dictionaries(
                    st.sampled_from("xyz"),
                    st.tuples(st.sampled_from(IDS), st.integers(0, 2)).map(list) | any_json,
                )
            },
        ),
    )
)
def test_accepted_graph_has_only_links_to_its_own_nodes(data):
    try:
        graph = parse_graph(data)
    except WorkflowError:
        return
    assert graph.linked_ids() <= graph.nodes.keys()


@given(graphs(), st.data())
def test_change_makes_a_new_graph_and_leaves_the_old_one_alone(graph, data):
    before = copy.deepcopy(graph)
    node_id = data.draw(st.sampled_from(sorted(graph.nodes)))
    name = data.draw(st.text(max_size=4))

    changed = graph.with_input(node_id, name, "new")
    assert changed.nodes[node_id].inputs[name] == "new"
    assert changed.nodes.keys() == graph.nodes.keys()

    replaced = graph.with_node(node_id, Node("Other", {}, "Other"))
    assert replaced.nodes[node_id].class_type == "Other"

    assert graph.without_node(node_id).nodes.keys() == graph.nodes.keys() - {node_id}
    graph.to_api()[node_id]["inputs"].clear()
    assert graph == before
