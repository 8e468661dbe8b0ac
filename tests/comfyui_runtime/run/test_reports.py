from __future__ import annotations

from comfyui_runtime.run.outputs import Reports


def test_entries_of_several_prompts_follow_each_other():
    reports = Reports()
    reports.add({"9": {"images": ["a"]}})
    reports.add({"9": {"images": ["b"], "animated": (True,)}, "10": {"gifs": ["c"]}})
    assert reports.by_node == {
        "9": {"images": ["a", "b"], "animated": [True]},
        "10": {"gifs": ["c"]},
    }


def test_report_of_a_node_that_did_not_run_again_is_not_repeated():
    kept = {"images": ["a"]}
    reports = Reports()
    reports.add({"9": kept})
    reports.add({"9": kept})
    assert reports.by_node == {"9": {"images": ["a"]}}
    assert kept == {"images": ["a"]}
