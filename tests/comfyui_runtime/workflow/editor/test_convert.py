"""The conversion of the editor's format, each rule by a graph as small as it can be."""

from __future__ import annotations

import json

import pytest

from comfyui_runtime.errors import WorkflowError
from comfyui_runtime.workflow.editor import (
    convert,
    is_editor_format,
    parse_definitions,
    parse_document,
)

SAMPLER = {
    "model": ["MODEL"],
    "seed": ["INT", {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True}],
    "steps": ["INT", {"default": 20, "min": 1, "max": 10000}],
    "sampler_name": [["euler", "heun"]],
}
RESIZE = [
    "COMFY_DYNAMICCOMBO_V3",
    {
        "options": [
            {"key": "by size", "inputs": {"required": {"width": ["INT", {"default": 512}]}}},
            {
                "key": "like another",
                "inputs": {"required": {"other": ["IMAGE"], "crop": [["no", "center"]]}},
            },
        ]
    },
]
GROWING = [
    "COMFY_AUTOGROW_V3",
    {"template": {"input": {"required": {"image": ["IMAGE"]}}, "prefix": "image", "min": 1}},
]


def node_class(*outputs, output_node=False, **inputs):
    return {"input": {"required": inputs}, "output": list(outputs), "output_node": output_node}


DEFINITIONS = parse_definitions(
    {
        "Load": node_class("MODEL", name=["STRING", {"default": "m.safetensors"}]),
        "Lora": node_class("MODEL", model=["MODEL"], strength=["FLOAT", {"default": 1.0}]),
        "Sample": node_class("IMAGE", **SAMPLER),
        "LoadImage": node_class("IMAGE", "MASK", image=[["a.png"], {"image_upload": True}]),
        "Blend": node_class("IMAGE", first=["IMAGE"], mask=["MASK"], second=["IMAGE"]),
        "Resize": node_class("IMAGE", image=["IMAGE"], how=RESIZE, sharp=["BOOLEAN", {}]),
        "Batch": node_class("IMAGE", images=GROWING),
        "Text": node_class("STRING", text=["STRING", {"multiline": True, "dynamicPrompts": True}]),
        "Points": node_class("IMAGE", points=["COLORS", {}]),
        "Save": node_class(
            output_node=True, images=["IMAGE"], filename_prefix=["STRING", {"default": "out"}]
        ),
    }
)


def node(number, kind, values=None, inputs=(), outputs=(), **more):
    return {
        "id": number,
        "type": kind,
        "mode": 0,
        "inputs": [
            {"name": name, "type": slot_type, "link": link, **extra}
            for name, slot_type, link, *rest in inputs
            for extra in (rest[0] if rest else {},)
        ],
        "outputs": [{"name": one, "type": one} for one in outputs],
        "widgets_values": values,
        **more,
    }


def widget(name):
    return {"widget": {"name": name}}


def workflow(nodes, links, subgraphs=(), **more):
    return {
        "last_node_id": 100,
        "version": 0.4,
        "nodes": nodes,
        "links": links,
        "definitions": {"subgraphs": list(subgraphs)},
        **more,
    }


def converted(data):
    return convert(parse_document(json.loads(json.dumps(data))), DEFINITIONS)


def inputs(data):
    return {key: one["inputs"] for key, one in converted(data).graph.items()}


LOAD = node(1, "Load", ["m.safetensors"], outputs=["MODEL"])
SAVE = node(9, "Save", ["out"], [("images", "IMAGE", 9)])


def sample(values, *extra, link=1):
    return node(2, "Sample", values, [("model", "MODEL", link), *extra], ["IMAGE"])


SIMPLE = workflow(
    [LOAD, sample([7, "randomize", 8, "heun"]), SAVE],
    [[1, 1, 0, 2, 0, "MODEL"], [9, 2, 0, 9, 0, "IMAGE"]],
)


def test_values_go_to_the_widgets_that_they_belong_to_and_the_seeds_control_to_none():
    assert inputs(SIMPLE) == {
        "1": {"name": "m.safetensors"},
        "2": {"seed": 7, "steps": 8, "sampler_name": "heun", "model": ["1", 0]},
        "9": {"filename_prefix": "out", "images": ["2", 0]},
    }


def test_links_as_objects_are_the_same_as_links_as_lists():
    names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    links = [dict(zip(names, link, strict=True)) for link in SIMPLE["links"]]
    assert inputs({**SIMPLE, "version": 1, "links": links}) == inputs(SIMPLE)


def test_upload_button_takes_a_saved_value_and_gives_none():
    data = workflow([node(1, "LoadImage", ["b.png", "image"], outputs=["IMAGE", "MASK"])], [])
    assert inputs(data) == {"1": {"image": "b.png"}}


def test_value_that_was_not_saved_is_the_declared_default():
    assert inputs(workflow([sample([7, "fixed"], link=None)], []))["2"] == {
        "seed": 7,
        "steps": 20,
        "sampler_name": "euler",
    }


def test_values_by_name_are_read_as_some_packs_save_them():
    data = workflow([sample({"steps": 3, "seed": 5}, link=None)], [])
    assert inputs(data)["2"] == {"seed": 5, "steps": 3, "sampler_name": "euler"}


def test_list_as_a_value_is_told_apart_from_a_link():
    data = workflow([node(1, "Points", [["#fff", "#000"]])], [])
    assert inputs(data)["1"] == {"points": {"__value__": ["#fff", "#000"]}}


def test_bypassed_node_is_stood_in_for_by_its_input_of_the_same_type():
    lora = node(3, "Lora", [0.5], [("model", "MODEL", 1)], ["MODEL"], mode=4)
    data = workflow(
        [LOAD, lora, sample([1, "fixed", 2, "euler"], link=2)],
        [[1, 1, 0, 3, 0, "MODEL"], [2, 3, 0, 2, 0, "MODEL"]],
    )
    assert inputs(data)["2"]["model"] == ["1", 0]
    assert "3" not in inputs(data)


def test_bypassed_node_hands_on_the_input_at_the_outputs_place_before_the_first_that_fits():
    blend = node(
        3,
        "Blend",
        None,
        [("first", "IMAGE", 1), ("mask", "MASK", None), ("second", "IMAGE", 2)],
        ["IMAGE"],
        mode=4,
    )
    images = [node(n, "LoadImage", ["a.png", "image"], outputs=["IMAGE", "MASK"]) for n in (1, 2)]
    data = workflow(
        [*images, blend, SAVE],
        [[1, 1, 0, 3, 0, "IMAGE"], [2, 2, 0, 3, 2, "IMAGE"], [9, 3, 0, 9, 0, "IMAGE"]],
    )
    assert inputs(data)["9"]["images"] == ["1", 0]


def test_muted_node_is_left_out_with_the_links_to_it():
    muted = {**sample([1, "fixed", 2, "euler"]), "mode": 2}
    data = workflow([LOAD, muted, SAVE], SIMPLE["links"])
    assert inputs(data)["9"] == {"filename_prefix": "out"}
    assert "2" not in inputs(data)


def test_reroutes_are_looked_through():
    reroutes = [
        node(5, "Reroute", None, [("", "*", 1)], ["MODEL"]),
        node(6, "Reroute", None, [("", "*", 2)], ["MODEL"]),
    ]
    data = workflow(
        [LOAD, *reroutes, sample([1, "fixed", 2, "euler"], link=3)],
        [[1, 1, 0, 5, 0, "*"], [2, 5, 0, 6, 0, "*"], [3, 6, 0, 2, 0, "MODEL"]],
    )
    assert inputs(data)["2"]["model"] == ["1", 0]
    assert set(inputs(data)) == {"1", "2"}


def primitive(value):
    return node(5, "PrimitiveNode", [value, "fixed"], outputs=["INT"], title="How many steps")


def test_primitive_gives_its_value_to_the_widget_that_was_converted_to_an_input():
    steps = ("steps", "INT", 2, widget("steps"))
    data = workflow(
        [primitive(33), sample([1, "fixed", 2, "euler"], steps, link=None)],
        [[2, 5, 0, 2, 1, "INT"]],
    )
    assert inputs(data)["2"]["steps"] == 33
    assert set(inputs(data)) == {"2"}
    (shown,) = converted(data).promoted
    assert (shown.name, shown.refs) == ("How many steps", (("2", "steps"),))


def test_get_node_is_what_the_set_node_of_its_name_was_given():
    setter = node(5, "SetNode", ["the model"], [("MODEL", "MODEL", 1)], ["*"])
    getter = node(6, "GetNode", ["the model"], outputs=["MODEL"])
    data = workflow(
        [LOAD, setter, getter, sample([1, "fixed", 2, "euler"], link=2)],
        [[1, 1, 0, 5, 0, "MODEL"], [2, 6, 0, 2, 0, "MODEL"]],
    )
    assert inputs(data)["2"]["model"] == ["1", 0]
    assert set(inputs(data)) == {"1", "2"}


def test_notes_leave_no_trace():
    notes = [node(7, "Note", ["read me"]), node(8, "MarkdownNote", ["# read me"])]
    assert inputs({**SIMPLE, "nodes": [*SIMPLE["nodes"], *notes]}) == inputs(SIMPLE)


def test_dynamic_combo_brings_the_inputs_of_its_choice():
    data = workflow(
        [node(1, "Resize", ["by size", 640, True], [("image", "IMAGE", None)], ["IMAGE"])], []
    )
    assert inputs(data)["1"] == {"how": "by size", "how.width": 640, "sharp": True}


def test_dynamic_combo_has_links_only_of_its_choice():
    image = node(3, "LoadImage", ["a.png", "image"], outputs=["IMAGE", "MASK"])
    links = [[1, 3, 0, 1, 1, "IMAGE"]]
    slots = [("image", "IMAGE", None), ("how.other", "IMAGE", 1)]
    other = node(1, "Resize", ["like another", "center", False], slots, ["IMAGE"])
    assert inputs(workflow([image, other], links))["1"] == {
        "how": "like another",
        "how.crop": "center",
        "how.other": ["3", 0],
        "sharp": False,
    }


def test_inputs_that_grow_are_named_by_their_place():
    image = node(3, "LoadImage", ["a.png", "image"], outputs=["IMAGE", "MASK"])
    slots = [("images.image0", "IMAGE", 1), ("images.image1", "IMAGE", 2)]
    data = workflow(
        [image, node(1, "Batch", None, [*slots, ("images.image2", "IMAGE", None)], ["IMAGE"])],
        [[1, 3, 0, 1, 0, "IMAGE"], [2, 3, 0, 1, 1, "IMAGE"]],
    )
    assert inputs(data)["1"] == {"images.image0": ["3", 0], "images.image1": ["3", 0]}


def test_inputs_of_a_dynamic_combo_that_its_choice_does_not_have_are_dropped():
    image = node(3, "LoadImage", ["a.png", "image"], outputs=["IMAGE", "MASK"])
    stale = [("how.other", "IMAGE", 1), ("how.long_gone", "IMAGE", 2)]
    data = workflow(
        [image, node(1, "Resize", ["by size", 640, True], stale, ["IMAGE"])],
        [[1, 3, 0, 1, 0, "IMAGE"], [2, 3, 0, 1, 1, "IMAGE"]],
    )
    assert inputs(data)["1"] == {"how": "by size", "how.width": 640, "sharp": True}


def test_text_with_choices_keeps_the_first_and_says_so():
    data = workflow([node(1, "Text", ["a {red|{dark|light} blue} \\{car\\} // not this"])], [])
    assert inputs(data)["1"] == {"text": "a red {car} "}
    assert converted(data).drawn == (("1", "text"),)


def test_file_name_takes_in_other_nodes_values_and_leaves_the_date_to_comfyui():
    prefix = "%Sampler.steps%/%date:yyyy-MM-dd%_%width%"
    data = {**SIMPLE, "nodes": [LOAD, {**SIMPLE["nodes"][1], "title": "Sampler"}]}
    data["nodes"].append(node(9, "Save", [prefix], [("images", "IMAGE", 9)]))
    assert inputs(data)["9"]["filename_prefix"] == "8/%year%-%month%-%day%_%width%"


def subgraph(number, nodes, links, shown=(), gives=(), name="Inner"):
    return {
        "id": f"subgraph-{number}",
        "name": name,
        "inputs": [{"name": one, "type": kind, "linkIds": ids} for one, kind, ids in shown],
        "outputs": [{"name": one, "type": kind, "linkIds": ids} for one, kind, ids in gives],
        "nodes": nodes,
        "links": [
            dict(
                zip(
                    ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type"),
                    link,
                    strict=True,
                )
            )
            for link in links
        ],
    }


STEPS = ("steps", "INT", 52, widget("steps"))
INNER = subgraph(
    1,
    [
        node(
            20,
            "Sample",
            [1, "fixed", 2, "euler"],
            [("model", "MODEL", 51), STEPS],
            ["IMAGE"],
        )
    ],
    [
        [51, -10, 0, 20, 0, "MODEL"],
        [52, -10, 1, 20, 1, "INT"],
        [53, 20, 0, -20, 0, "IMAGE"],
    ],
    [("model", "MODEL", [51]), ("steps", "INT", [52])],
    [("IMAGE", "IMAGE", [53])],
)
HOST_SLOTS = [("model", "MODEL", 1), ("steps", "INT", None, widget("steps"))]


def host(values, number=3, **more):
    return node(number, "subgraph-1", values, HOST_SLOTS, ["IMAGE"], **more)


def test_subgraph_is_put_in_with_the_value_that_its_node_shows():
    data = workflow(
        [LOAD, host([44]), SAVE],
        [[1, 1, 0, 3, 0, "MODEL"], [9, 3, 0, 9, 0, "IMAGE"]],
        [INNER],
    )
    assert inputs(data) == {
        "1": {"name": "m.safetensors"},
        "3:20": {"seed": 1, "steps": 44, "sampler_name": "euler", "model": ["1", 0]},
        "9": {"filename_prefix": "out", "images": ["3:20", 0]},
    }
    (shown,) = converted(data).promoted
    assert (shown.name, shown.host, shown.refs) == ("steps", "3", (("3:20", "steps"),))


def test_each_use_of_a_subgraph_has_values_of_its_own():
    data = workflow([host([44], 3), host([55], 4)], [], [INNER])
    assert [inputs(data)[key]["steps"] for key in ("3:20", "4:20")] == [44, 55]


def test_values_that_an_older_editor_kept_beside_a_list_of_widgets_are_found():
    older = host([0.5, 66], properties={"proxyWidgets": [["20", "seed"], ["20", "steps"]]})
    assert inputs(workflow([older], [], [INNER]))["3:20"]["steps"] == 66
    assert inputs(workflow([older], [], [INNER]))["3:20"]["seed"] == 0.5


def test_subgraph_in_a_subgraph_is_put_in_with_what_the_outermost_node_shows():
    outer = subgraph(
        2,
        [
            node(
                30,
                "subgraph-1",
                [44],
                [("model", "MODEL", 61), ("steps", "INT", 62, widget("steps"))],
                ["IMAGE"],
            )
        ],
        [
            [61, -10, 0, 30, 0, "MODEL"],
            [62, -10, 1, 30, 1, "INT"],
            [63, 30, 0, -20, 0, "IMAGE"],
        ],
        [("model", "MODEL", [61]), ("steps", "INT", [62])],
        [("IMAGE", "IMAGE", [63])],
        name="Outer",
    )
    data = workflow(
        [LOAD, node(3, "subgraph-2", [77], HOST_SLOTS, ["IMAGE"]), SAVE],
        [[1, 1, 0, 3, 0, "MODEL"], [9, 3, 0, 9, 0, "IMAGE"]],
        [outer, INNER],
    )
    assert inputs(data)["3:30:20"]["steps"] == 77
    assert inputs(data)["3:30:20"]["model"] == ["1", 0]
    assert inputs(data)["9"]["images"] == ["3:30:20", 0]


@pytest.mark.parametrize("mode", [2, 4])
def test_nothing_of_a_subgraph_runs_that_is_muted_or_bypassed(mode):
    assert inputs(workflow([host([44], mode=mode)], [], [INNER])) == {}


def test_nodes_of_a_subgraph_get_ids_of_their_own_where_the_root_has_the_same():
    clash = workflow([node(20, "Load", ["x"], outputs=["MODEL"]), host([44])], [], [INNER])
    assert set(inputs(clash)) == {"20", "3:101"}


def test_class_that_is_not_installed_keeps_the_inputs_that_the_file_names():
    unknown = node(
        1,
        "Unknown",
        [5, "randomize", 0.5],
        [("seed", "INT", None, widget("seed")), ("amount", "FLOAT", None, widget("amount"))],
    )
    result = converted(workflow([unknown], []))
    assert result.missing == ("Unknown",)
    assert result.graph["1"]["inputs"] == {"seed": 5, "amount": 0.5}


def test_reroutes_in_a_circle_are_a_cycle():
    reroutes = [
        node(5, "Reroute", None, [("", "*", 2)], ["MODEL"]),
        node(6, "Reroute", None, [("", "*", 1)], ["MODEL"]),
    ]
    data = workflow(
        [*reroutes, sample([1, "fixed", 2, "euler"], link=3)],
        [[1, 5, 0, 6, 0, "*"], [2, 6, 0, 5, 0, "*"], [3, 6, 0, 2, 0, "MODEL"]],
    )
    with pytest.raises(WorkflowError, match="cycle through node"):
        converted(data)


def test_group_node_of_an_older_editor_is_refused_with_the_way_out():
    with pytest.raises(WorkflowError, match="current ComfyUI, which converts it"):
        converted(workflow([node(1, "workflow>Sampling", [1])], []))


def test_subgraph_that_contains_itself_is_refused():
    endless = subgraph(1, [node(20, "subgraph-1", [])], [], name="Endless")
    with pytest.raises(WorkflowError, match='"Endless" contains itself'):
        converted(workflow([host([])], [], [endless]))


@pytest.mark.parametrize(
    "data", [[], {}, {"nodes": 3}, {"nodes": [{"id": 1}], "links": []}, {"nodes": [], "links": [1]}]
)
def test_damaged_file_is_refused(data):
    with pytest.raises(WorkflowError):
        parse_document(data)


def places(data, path=()):
    """Yield the path of every value in JSON data."""
    if path:
        yield path
    if isinstance(data, dict | list):
        members = data.items() if isinstance(data, dict) else enumerate(data)
        for key, member in members:
            yield from places(member, (*path, key))


@pytest.mark.parametrize("junk", [None, "", "x", -1, 2.5, True, [], {}, [1], {"a": 1}])
def test_damage_anywhere_ends_in_a_graph_or_in_the_one_error(junk):
    proxies = {"proxyWidgets": [["20", "seed"], ["20", "steps"]]}
    whole = workflow(
        [LOAD, host([1, 2], properties=proxies), primitive(1), SAVE],
        [[1, 1, 0, 3, 0, "MODEL"], [9, 3, 0, 9, 0, "IMAGE"]],
        [INNER],
    )
    for path in list(places(whole)):
        damaged = json.loads(json.dumps(whole))
        *above, last = path
        inner = damaged
        for key in above:
            inner = inner[key]
        inner[last] = junk
        try:
            json.dumps(converted(damaged).graph)
        except WorkflowError as error:
            assert error.message  # noqa: PT017 - either end is right


def test_the_two_formats_are_told_apart():
    assert is_editor_format(SIMPLE)
    assert not is_editor_format({"1": {"class_type": "Load", "inputs": {}}})
