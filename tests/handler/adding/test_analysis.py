from __future__ import annotations

import pytest

from comfyui_runtime.workflow.editor import parse_definitions
from handler.adding.analysis import analyse
from handler.adding.errors import PaidServiceError, WorkflowFileError
from handler.adding.folder import workflow_files
from handler.adding.installed import Installed
from handler.adding.report import command, example_event, report_lines
from handler.adding.source import Source

URL = "https://huggingface.co/o/r/resolve/main/m.safetensors"
OBJECT_INFO = {
    "Loader": {
        "input": {"required": {"ckpt_name": [["x"], {"model_folder": "checkpoints"}]}},
        "output": ["MODEL", "CLIP", "VAE"],
    },
    "LoraLoader": {
        "input": {
            "required": {
                "model": ["MODEL"],
                "lora_name": [[], {"model_folder": "loras"}],
                "strength_model": ["FLOAT", {"min": -100.0, "max": 100.0, "step": 0.01}],
            }
        },
        "output": ["MODEL"],
    },
    "Encode": {
        "input": {"required": {"clip": ["CLIP"], "text": ["STRING", {"multiline": True}]}},
        "output": ["CONDITIONING"],
    },
    "KSampler": {
        "input": {
            "required": {
                "model": ["MODEL"],
                "positive": ["CONDITIONING"],
                "negative": ["CONDITIONING"],
                "pixels": ["IMAGE"],
                "seed": ["INT", {"min": 0, "max": 2**64 - 1, "control_after_generate": True}],
                "steps": ["INT", {"min": 1, "max": 10000}],
                "cfg": ["FLOAT", {"min": 0.0, "max": 100.0, "step": 0.1}],
                "sampler_name": [["euler", "heun"]],
                "scheduler": [["simple", "karras"]],
                "denoise": ["FLOAT", {"min": 0.0, "max": 1.0, "step": 0.01}],
            }
        },
        "output": ["IMAGE"],
    },
    "LoadImage": {
        "display_name": "Load Image",
        "input": {"required": {"image": [[], {"image_upload": True}]}},
        "output": ["IMAGE", "MASK"],
    },
    "LoadImageMask": {
        "input": {
            "required": {
                "image": [[], {"image_upload": True}],
                "channel": [["alpha", "red", "green", "blue"]],
            }
        },
        "output": ["MASK"],
    },
    "Paste": {
        "input": {
            "required": {"image": ["IMAGE"], "mask": ["MASK"], "amount": ["FLOAT", {"max": 5.0}]}
        },
        "output": ["IMAGE"],
    },
    "SaveImage": {
        "input": {"required": {"images": ["IMAGE"]}},
        "output": [],
        "output_node": True,
    },
    "CustomCombo": {
        "display_name": "Custom Combo",
        "input": {"required": {"choice": ["COMBO", {"options": []}]}},
        "output": ["STRING", "INT"],
    },
    "Paid": {"input": {"required": {}}, "output": ["IMAGE"], "api_node": True},
    "PrimitiveInt": {
        "display_name": "Int",
        "input": {"required": {"value": ["INT", {"min": -(2**63), "max": 2**63 - 1}]}},
        "output": ["INT"],
    },
}
DEFINITIONS = parse_definitions(OBJECT_INFO)


def api(kind, title=None, **inputs):
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": title or kind}}


def graph(**changed):
    nodes = {
        "1": api("Loader", ckpt_name="m.safetensors"),
        "2": api("LoraLoader", model=["1", 0], lora_name="l.safetensors", strength_model=0.8),
        "3": api("Encode", clip=["1", 1], text="a hill"),
        "4": api("Encode", clip=["1", 1], text="blur"),
        "5": api("LoadImage", "Load Image", image="a.png"),
        "6": api(
            "KSampler",
            model=["2", 0],
            positive=["3", 0],
            negative=["4", 0],
            pixels=["5", 0],
            seed=5,
            steps=8,
            cfg=2,
            sampler_name="euler",
            scheduler="karras",
            denoise=0.6,
        ),
        "7": api("SaveImage", images=["6", 0]),
    }
    return {**nodes, **changed}


def added(data, **options):
    return analyse(Source("hills", "Hills", data), Installed(DEFINITIONS, **options))


def parameters(data):
    return {one.name: one for one in added(data).parameters}


def test_known_inputs_become_parameters_with_types_bounds_and_defaults():
    found = parameters(graph())
    assert list(found) == [
        "prompt",
        "negative_prompt",
        "lora_strength",
        "seed",
        "steps",
        "cfg",
        "sampler",
        "scheduler",
        "denoise",
    ]
    assert found["prompt"].fields == {"type": "string", "default": "a hill"}
    assert found["negative_prompt"].patches == ("4.text",)
    assert found["seed"].fields == {"type": "seed"}
    assert found["steps"].fields == {
        "type": "integer",
        "default": 8,
        "minimum": 1,
        "maximum": 10000,
    }
    assert found["cfg"].fields == {
        "type": "number",
        "default": 2.0,
        "minimum": 0.0,
        "maximum": 100.0,
        "step": 0.1,
    }
    assert found["sampler"].fields["choices"] == ["euler", "heun"]


def test_single_image_is_named_image_and_several_after_their_titles():
    assert [(one.name, one.node_id) for one in added(graph()).images] == [("image", "5")]
    two = graph(
        **{
            "8": api("LoadImage", "Style picture", image="b.png"),
            "9": api("SaveImage", images=["8", 0]),
        }
    )
    assert [one.name for one in added(two).images] == ["image", "style_picture"]


def test_title_with_a_mark_makes_any_input_a_parameter():
    marked = graph(
        **{
            "7": api("SaveImage", images=["8", 0]),
            "8": api(
                "Paste",
                "@glow:amount How much it glows.",
                image=["6", 0],
                mask=["5", 1],
                amount=1.5,
            ),
        }
    )
    glow = parameters(marked)["glow"]
    assert glow.description == "How much it glows."
    assert glow.patches == ("8.amount",)
    assert glow.fields == {"type": "number", "default": 1.5, "minimum": 0.0, "maximum": 5.0}


def test_seeds_share_one_parameter_and_other_names_are_numbered():
    second = api(
        "KSampler",
        model=["1", 0],
        positive=["3", 0],
        negative=["4", 0],
        pixels=["6", 0],
        seed=9,
        steps=3,
        cfg=1,
        sampler_name="euler",
        scheduler="karras",
        denoise=0.3,
    )
    found = parameters(graph(**{"8": second, "7": api("SaveImage", images=["8", 0])}))
    assert found["seed"].patches == ("6.seed", "8.seed")
    assert found["steps"].patches == ("6.steps",)
    assert found["steps_2"].patches == ("8.steps",)


def test_primitive_is_named_by_its_title_and_bounded_by_what_it_is_used_for():
    data = graph(**{"8": api("PrimitiveInt", "How many Steps", value=8)})
    data["6"]["inputs"]["steps"] = ["8", 0]
    steps = parameters(data)["how_many_steps"]
    assert steps.patches == ("8.value",)
    assert (steps.fields["minimum"], steps.fields["maximum"]) == (1, 10000)


@pytest.mark.parametrize(
    ("title", "name"), [("Int (Split step)", "split_step"), ("Int", None), ("value", None)]
)
def test_primitives_title_names_what_it_means_and_a_plain_one_names_nothing(title, name):
    data = graph(**{"8": api("PrimitiveInt", title, value=8)})
    data["6"]["inputs"]["cfg"] = ["8", 0]
    found = {one.patches: one for one in added(data).parameters}
    parameter = found.get(("8.value",))
    assert (parameter.name if parameter else None) == name
    if parameter is not None:
        assert (parameter.fields["minimum"], parameter.fields["maximum"]) == (0, 1_000_000)


@pytest.mark.parametrize(("output", "choices"), [(0, ["low", "high"]), (1, None)])
def test_custom_combo_offers_its_own_options_unless_their_number_is_used(output, choices):
    options = {"choice": "low", "index": 0, "option1": "low", "option2": "high", "option3": ""}
    data = graph(**{"8": api("CustomCombo", "Mood", **options)})
    data["3"]["inputs"]["text"] = ["8", output]
    mood = parameters(data).get("mood")
    assert (mood.fields["choices"] if mood else None) == choices


def test_alike_inputs_of_several_nodes_share_one_parameter():
    other = {**graph()["6"]["inputs"], "pixels": ["6", 0], "steps": 2}
    data = graph(**{"8": api("KSampler", **other), "7": api("SaveImage", images=["8", 0])})
    found = parameters(data)
    assert found["sampler"].patches == ("6.sampler_name", "8.sampler_name")
    assert found["steps"].patches == ("6.steps",)
    assert found["steps_2"].patches == ("8.steps",)


def test_class_whose_file_does_not_import_is_told_with_the_reason():
    data = {"1": api("Broken"), "2": api("SaveImage", images=["1", 0])}
    addition = added(data, failures={"Broken": "No module named 'torchaudio'"})
    text = "\n".join(report_lines(addition, []))
    assert "does not import: No module named 'torchaudio'" in text


def test_mask_is_an_image_of_the_callers_whose_channel_the_node_names():
    data = graph(
        **{
            "7": api("SaveImage", images=["8", 0]),
            "8": api("Paste", image=["6", 0], mask=["9", 0], amount=1.0),
            "9": api("LoadImageMask", "Mask", image="m.png", channel="alpha"),
            "10": api("LoadImageMask", "Red", image="m.png", channel="red"),
            "11": api("Paste", image=["6", 0], mask=["10", 0], amount=1.0),
            "12": api("SaveImage", images=["11", 0]),
        }
    )
    addition = added(data)
    nodes = addition.graph.nodes
    assert nodes["9"].class_type == nodes["10"].class_type == "LoadImageMask"
    assert nodes["10"].inputs["channel"] == "red"
    assert [(one.name, one.node_id) for one in addition.images] == [
        ("image", "5"),
        ("mask", "9"),
        ("red", "10"),
    ]


def test_videos_sounds_and_models_become_files_of_the_callers(tmp_path):
    data = {
        "1": api("LoadVideo", file="walk.mov"),
        "2": api("VHS_LoadAudioUpload", "@voice Who speaks.", audio="talk.mp3"),
        "3": api("Load3D", model_file="3d/cube.obj"),
        "4": api("PackVideo", "Background", clip="sea.webm"),
        "5": api("Join", a=["1", 0], b=["2", 0], c=["3", 0], d=["4", 0]),
        "6": api("SaveImage", images=["5", 0]),
    }
    pack = {"input": {"required": {"clip": [[], {"video_upload": True}]}}, "output": ["IMAGE"]}
    installed = Installed(parse_definitions({**OBJECT_INFO, "PackVideo": pack}))
    addition = analyse(Source("clips", "Clips", data), installed)
    assert [(one.name, one.media, one.input) for one in addition.files] == [
        ("video", "video", None),
        ("voice", "audio", None),
        ("model", "file", None),
        ("background", "video", "clip"),
    ]
    declared = workflow_files(tmp_path, addition).workflow.manifest.files
    assert declared["voice"].description == "Who speaks."
    assert declared["background"].input == "clip"
    assert example_event(addition)["input"]["files"] == {
        "video": "https://example.com/video.mov",
        "voice": "https://example.com/voice.mp3",
        "model": "https://example.com/model.obj",
        "background": "https://example.com/background.webm",
    }
    assert "--file voice=voice.mp3" in command(addition)


def editor_format(properties, *notes):
    return {
        "nodes": [
            {
                "id": 1,
                "type": "Loader",
                "widgets_values": ["sub/m.safetensors"],
                "properties": properties,
                "outputs": [{"name": "IMAGE", "type": "IMAGE"}],
            },
            {
                "id": 2,
                "type": "SaveImage",
                "inputs": [{"name": "images", "type": "IMAGE", "link": 1}],
            },
            *(
                {"id": 10 + n, "type": "Note", "widgets_values": [one]}
                for n, one in enumerate(notes)
            ),
        ],
        "links": [[1, 1, 0, 2, 0, "IMAGE"]],
    }


def models(data):
    return [(one.folder, one.file, one.url, one.sha256) for one in added(data).models]


def test_models_address_is_what_the_node_itself_says():
    entry = {"name": "m.safetensors", "url": URL + "?download=true", "directory": "checkpoints"}
    digest = {"hash": "A" * 64, "hash_type": "SHA256"}
    assert models(editor_format({"models": [entry | digest]})) == [
        ("checkpoints", "sub/m.safetensors", URL, "a" * 64)
    ]


def test_models_address_is_a_link_in_a_note_to_a_file_of_that_name():
    note = f"Get [m.safetensors]({URL.replace('resolve', 'blob')}) and https://x.test/other.pt."
    assert models(editor_format({}, note)) == [("checkpoints", "sub/m.safetensors", URL, None)]


def test_model_without_an_address_is_unresolved_and_not_guessed():
    addition = added(editor_format({}))
    assert addition.unresolved_models == addition.models
    assert "lacks  model checkpoints/sub/m.safetensors" in "\n".join(report_lines(addition, []))


def test_pack_of_a_missing_class_is_named_with_its_commit():
    data = editor_format({"cnr_id": "some-pack", "aux_id": "owner/pack", "ver": "a" * 40})
    data["nodes"][0]["type"] = "Elsewhere"
    addition = added(data)
    (pack,) = addition.packs
    assert (pack.repository, pack.commit, pack.classes) == ("owner/pack", "a" * 40, ("Elsewhere",))
    assert [one.class_type for one in addition.missing] == ["Elsewhere"]
    assert "class Elsewhere: of the pack some-pack" in "\n".join(report_lines(addition, []))


def test_class_of_a_newer_comfyui_is_said_to_be_one_with_the_release_of_the_file():
    data = editor_format({"cnr_id": "comfy-core", "ver": "0.9.2"})
    data["nodes"][0]["type"] = "Newer"
    text = "\n".join(report_lines(added(data), []))
    assert "ComfyUI's own, of a newer release" in text
    assert "0.9.2" in text


def test_pack_is_found_in_the_managers_map():
    data = {"1": api("Elsewhere"), "2": api("SaveImage", images=["1", 0])}
    (pack,) = added(data, manager_map={"Elsewhere": "owner/pack"}).packs
    assert (pack.name, pack.repository, pack.commit) == ("pack", "owner/pack", None)


def test_nodes_whose_results_nothing_uses_are_left_out():
    addition = added(graph(**{"8": api("Encode", clip=["1", 1], text="idle")}))
    assert "8" not in addition.graph.nodes
    assert addition.warnings == ("Left out 1 nodes whose results nothing uses.",)


def test_value_that_the_installed_class_does_not_offer_is_named():
    data = graph()
    data["6"]["inputs"]["sampler_name"] = "brand_new"
    (sentence,) = added(data).refused
    assert sentence.startswith("node 6 (KSampler) has 'brand_new' for \"sampler_name\"")


def test_paid_service_is_refused():
    data = {"1": api("Paid"), "2": api("SaveImage", images=["1", 0])}
    with pytest.raises(PaidServiceError, match="needs an account"):
        added(data)
    with pytest.raises(PaidServiceError):
        added({**data, "1": api("NotInstalled")}, paid=frozenset({"NotInstalled"}))


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ({"1": api("Encode", text="x", clip=["1", 0])}, "cycle"),
        ({"1": api("Loader", ckpt_name="x")}, "makes nothing"),
        ({"nodes": [{"id": 1}], "links": []}, "damaged"),
        ({"nodes": [], "links": []}, "no node that would run"),
        ({"1": 3}, "not in ComfyUI's API format"),
    ],
)
def test_file_that_cannot_become_a_workflow_is_refused_with_the_reason(data, complaint):
    with pytest.raises(WorkflowFileError, match=complaint):
        added(data)


def test_manifest_loads_and_holds_all_that_was_found(tmp_path):
    manifest = workflow_files(tmp_path, added(graph())).workflow.manifest
    assert manifest.images["image"].node == "5"
    assert manifest.parameters["denoise"].default == 0.6
    assert [(one.folder, one.file) for one in manifest.models] == [
        ("checkpoints", "m.safetensors"),
        ("loras", "l.safetensors"),
    ]


def test_texts_of_any_kind_survive_the_manifest(tmp_path):
    text = 'a "quoted" \\ line\n\n"""three"""\ttab \x7f \x01 größer 漢字\n'
    data = graph()
    data["3"]["inputs"]["text"] = text
    manifest = workflow_files(tmp_path, added(data)).workflow.manifest
    assert manifest.parameters["prompt"].default == text


def test_example_event_and_command_name_what_the_workflow_takes():
    addition = added(graph())
    assert example_event(addition) == {
        "input": {
            "workflow": "hills",
            "image": "https://example.com/image.jpg",
            "params": {"prompt": "a hill", "steps": 8},
        }
    }
    assert command(addition).endswith("run --workflow hills --image image.jpg")
