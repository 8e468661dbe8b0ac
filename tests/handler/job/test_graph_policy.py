from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_runtime.workflow.graph import Graph, Node, parse_graph
from handler.contract.errors import GraphRefusedError
from handler.job.graph_policy import CORE_CLASSES, FILE_INPUTS, PACK_CLASSES, GraphPolicy
from handler.settings import load_settings


@pytest.fixture
def policy(comfyui_dir):
    def make(**settings) -> GraphPolicy:
        fields = {"caller_graphs": "on", "comfyui_dir": comfyui_dir} | settings
        return GraphPolicy.of(load_settings(**fields))

    return make


def graph(class_type: str, **inputs) -> Graph:
    return Graph({"7": Node(class_type, inputs, "The title")})


def refused(policy: GraphPolicy, checked: Graph, **more) -> GraphRefusedError:
    with pytest.raises(GraphRefusedError) as caught:
        policy.check(checked, **more)
    return caught.value


@pytest.mark.parametrize(
    ("settings", "enabled"),
    [
        ({}, False),
        ({"api_token": "a long token"}, True),
        ({"api_token": "a long token", "caller_graphs": "off"}, False),
        ({"caller_graphs": "on"}, True),
    ],
)
def test_graphs_of_callers_are_off_unless_asked_for_or_callers_have_a_token(settings, enabled):
    checked = GraphPolicy.of(load_settings(**settings))
    if enabled:
        checked.check_enabled()
        return
    with pytest.raises(GraphRefusedError, match="CALLER_GRAPHS=on"):
        checked.check_enabled()


def test_callers_who_have_a_platforms_key_may_bring_graphs_unless_it_is_switched_off():
    assert load_settings().with_trusted_callers().takes_caller_graphs
    assert not load_settings(caller_graphs="off").with_trusted_callers().takes_caller_graphs


@pytest.mark.parametrize("class_type", ["KSampler", "LoadImage", "SaveImage", "A [b] c", "日本"])
def test_ordinary_classes_pass(policy, class_type):
    policy().check(graph(class_type, seed=5, text="a / b, 1/2"))


@pytest.mark.parametrize("class_type", CORE_CLASSES)
def test_class_that_reaches_further_is_refused_unless_it_is_named_in_full(policy, class_type):
    error = refused(policy(), graph(class_type))
    assert error.details == {"node_id": "7", "class_type": class_type, "title": "The title"}
    assert CORE_CLASSES[class_type] in error.message
    assert f"CALLER_GRAPH_ALLOW (*,{class_type})" in error.message
    refused(policy(caller_graph_allow=f"*,{class_type[:-1]}*"), graph(class_type))
    policy(caller_graph_allow=f"*,{class_type}").check(graph(class_type))


@pytest.mark.parametrize(
    "class_type",
    ["VHS_LoadImagesPath", "KY_Eval_Python", "LoadImagesFromFolderKJ", "LoadImageFromUrl"],
)
def test_classes_of_packs_that_reach_further_are_refused_by_their_names(policy, class_type):
    assert any(why in refused(policy(), graph(class_type)).message for why in PACK_CLASSES.values())


def test_allow_list_lets_in_what_it_names_and_nothing_else(policy):
    narrow = policy(caller_graph_allow="KSampler*, LoadImage")
    narrow.check(graph("KSamplerAdvanced"))
    assert "CALLER_GRAPH_ALLOW" in refused(narrow, graph("SaveImage")).message


def test_deny_list_wins(policy):
    narrow = policy(caller_graph_allow="*,SaveLoRA", caller_graph_deny="Save*")
    assert "CALLER_GRAPH_DENY" in refused(narrow, graph("SaveLoRA")).message
    assert "CALLER_GRAPH_DENY" in refused(narrow, graph("SaveImage")).message


def test_paid_services_need_a_key_of_the_events_or_the_workers(policy):
    paid = graph("GeminiNode")
    assert "comfy_org_api_key" in refused(policy(), paid).message
    policy().check(paid, has_key=True)
    policy(comfy_org_api_key="key").check(paid)
    refused(policy(caller_graph_deny="GeminiNode"), paid, has_key=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("filename_prefix", "../outside"),
        ("filename_prefix", "a/../../b"),
        ("filename_prefix", "a\\..\\b"),
        ("filename_prefix", "/etc/cron.d/x"),
        ("filename_prefix", "C:\\x"),
        ("filename_prefix", "~/x"),
        ("image", "../../etc/passwd [input]"),
        ("image", "/etc/hostname"),
        ("prefix", "/x"),
        ("folder_name", "/x"),
        ("output_path", "\\\\host\\share"),
        ("value", "/etc/passwd"),
        ("value", "../x"),
        ("text", " ../x"),
        ("image", "a\0b"),
    ],
)
def test_path_that_leads_out_is_refused_in_any_class_even_an_allowed_one(policy, name, value):
    for checked in (policy(), policy(caller_graph_allow="*,AnyNode")):
        error = refused(checked, graph("AnyNode", **{name: value}))
        assert error.details["input"] == name
        assert error.details["node_id"] == "7"


@pytest.mark.parametrize("value", ["http://169.254.169.254/x", "https://x.test/a.png", "file:///x"])
def test_address_is_refused_unless_the_class_is_named_in_full(policy, value):
    assert "images" in refused(policy(), graph("AnyNode", value=value)).message
    policy(caller_graph_allow="*,AnyNode").check(graph("AnyNode", value=value))


@pytest.mark.parametrize(
    "value",
    [
        "a cat .. and a dog",
        "/imagine a cat",
        "and/or",
        "1/2",
        "see https://example.com for more",
        "video/clip",
        "%date:yyyy-MM-dd%/result",
        "...",
        "",
    ],
)
def test_ordinary_texts_pass(policy, value):
    policy().check(graph("CLIPTextEncode", text=value))


@pytest.mark.parametrize(("class_type", "name"), FILE_INPUTS.items())
def test_name_of_a_file_that_another_node_makes_up_is_refused(policy, class_type, name):
    made_up = {
        "1": {"class_type": "StringConcatenate", "inputs": {"string_a": ".", "string_b": "./x"}},
        "2": {"class_type": class_type, "inputs": {name: ["1", 0]}},
    }
    assert refused(policy(), parse_graph(made_up)).details["input"] == name


@given(st.lists(st.sampled_from(["a", "..", ".", "", "b c"]), min_size=1, max_size=5))
def test_no_path_with_a_step_up_passes(parts):
    checked = GraphPolicy.of(load_settings(caller_graphs="on"))
    path = "/".join(parts)
    if ".." in parts:
        refused(checked, graph("SaveImage", filename_prefix=path))
    elif path and not path.startswith("/"):
        checked.check(graph("SaveImage", filename_prefix=path))


def test_loader_may_name_a_model_by_its_address_where_a_host_is_allowed(policy):
    loader = graph("LoraLoader", lora_name="https://huggingface.co/a.safetensors")
    policy(model_url_hosts="huggingface.co").check(loader)
    assert "is an address" in refused(policy(), loader).message


def test_address_in_another_input_is_refused_all_the_same(policy):
    loader = graph("LoraLoader", note="https://huggingface.co/a.safetensors")
    assert "is an address" in refused(policy(model_url_hosts="huggingface.co"), loader).message
