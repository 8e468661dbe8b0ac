from __future__ import annotations

from collections import Counter

import pytest

from comfyui_runtime.errors import GraphError, MissingModelError, MissingNodeClassError
from comfyui_runtime.run.check import check_nodes, raise_refusal
from comfyui_runtime.run.messages import Refusal
from comfyui_runtime.workflow.graph import parse_graph

SPECS = {
    "image": ("IMAGE", {}),
    "sampler": (["euler", "ddim"], {}),
    "model": ("COMBO", {"options": ["a.safetensors"]}),
    "steps": ("INT", {}),
}


class Catalog:
    """One node class, and how often it was asked how it declares its inputs."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    def has(self, class_type):
        return class_type == "Sampler"

    def load_failure(self, _):
        return None

    def input_specs(self, class_type):
        self.asked[class_type] += 1
        return SPECS

    def is_checked(self, *_):
        return False


def graph(**inputs):
    defaults = {"image": ["2", 0], "sampler": "euler", "model": "a.safetensors", "steps": 4}
    node = {"class_type": "Sampler", "inputs": defaults | inputs, "_meta": {"title": "The node"}}
    return parse_graph({"1": node, "2": {"class_type": "Sampler", "inputs": {}}})


def test_node_is_asked_once_for_all_its_inputs():
    catalog = Catalog()
    check_nodes(graph(), catalog, {})
    assert catalog.asked == {"Sampler": 1}


def test_value_that_is_no_choice_is_refused_with_the_choices():
    with pytest.raises(GraphError, match="must be one of euler, ddim"):
        check_nodes(graph(sampler="heun"), Catalog(), {})


def test_model_file_that_is_no_choice_is_missing():
    with pytest.raises(MissingModelError) as caught:
        check_nodes(graph(model="b.safetensors"), Catalog(), {})
    assert caught.value.details["allowed"] == ["a.safetensors"]


def test_class_that_no_pack_defines_is_missing():
    other = parse_graph({"1": {"class_type": "Other", "inputs": {}}})
    with pytest.raises(MissingNodeClassError, match="the pack some-pack"):
        check_nodes(other, Catalog(), {"Other": "some-pack"})


def test_refusal_of_a_node_names_it_and_its_input():
    refusal = Refusal("1", "value_smaller_than_min", "Value 0 smaller than min", "steps", "steps")
    with pytest.raises(GraphError, match=r'node 1 \(The node\), input "steps"') as caught:
        raise_refusal(graph(), Catalog(), refusal)
    assert caught.value.details["type"] == "value_smaller_than_min"


def test_refused_choice_is_told_like_one_that_was_checked_here():
    refusal = Refusal("1", "value_not_in_list", "Value not in list", "", "model")
    with pytest.raises(MissingModelError, match=r"name one of: a\.safetensors"):
        raise_refusal(graph(model="b.safetensors"), Catalog(), refusal)


def test_refusal_of_the_whole_graph_says_why():
    with pytest.raises(GraphError, match="ComfyUI refuses the graph: Prompt has no outputs"):
        raise_refusal(graph(), Catalog(), Refusal(None, "x", "Prompt has no outputs", ""))
    raise_refusal(graph(), Catalog(), None)
