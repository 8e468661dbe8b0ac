from __future__ import annotations

import shutil

import pytest
from places import PROJECT, WORKFLOWS

from comfyui_runtime.errors import UnknownWorkflowError, WorkerBrokenError
from comfyui_runtime.in_process import comfy
from comfyui_runtime.in_process.runtime import InProcessRuntime
from comfyui_runtime.workflow.manifest import load_workflow
from handler.job.warm_up import model_paths, warm_up, workflows_to_warm_up
from handler.settings import load_settings


def settings(**values):
    return load_settings(workflows_dir=WORKFLOWS, **values)


def test_workflows_are_those_that_the_setting_names_in_its_order():
    found = workflows_to_warm_up(settings(warm_up_workflows="steps, invert"))
    assert [workflow.name for workflow in found] == ["steps", "invert"]


def test_workflow_that_is_not_installed_stops_the_start():
    with pytest.raises(UnknownWorkflowError, match="no-such"):
        workflows_to_warm_up(settings(warm_up_workflows="no-such"))


def steps_of(seconds: float, folder):
    """Return a workflow whose four steps no other test has run: the runtime keeps results."""
    shutil.copytree(WORKFLOWS / "steps", folder / "steps")
    manifest = folder / "steps" / "manifest.toml"
    manifest.write_text(manifest.read_text().replace("default = 0.01", f"default = {seconds}"))
    return load_workflow(folder, "steps")


def test_each_workflow_runs_once_on_the_device(runtime, caplog, tmp_path):
    before = runtime.busy_seconds
    warm_up(runtime, [steps_of(0.011, tmp_path)], timeout=30)
    assert runtime.busy_seconds - before > 0.04
    assert caplog.records == []


def test_workflow_that_fails_is_logged_with_its_error_and_the_next_one_runs(
    runtime, caplog, tmp_path
):
    before = runtime.busy_seconds
    workflows = [load_workflow(WORKFLOWS, "fail"), steps_of(0.012, tmp_path)]
    warm_up(runtime, workflows, timeout=30)
    (record,) = [record for record in caplog.records if record.message == "warm-up failed"]
    assert (record.workflow, record.code) == ("fail", "node_failed")
    assert "not to this node's liking" in record.error
    assert runtime.busy_seconds - before > 0.04


def test_node_that_does_not_stop_stops_the_start(booted, tmp_path):
    shutil.copytree(WORKFLOWS / "stubborn", tmp_path / "stubborn")
    release = tmp_path / "release"
    manifest = tmp_path / "stubborn" / "manifest.toml"
    manifest.write_text(manifest.read_text().replace("/nowhere", str(release)))
    # A runtime of its own: the session's must go on.
    stuck = InProcessRuntime(
        booted.runtime._server,
        comfy.make_executor(booted.runtime._server, 0),
        booted.runtime._scratch,
        stop_grace=0.2,
    )
    try:
        with pytest.raises(WorkerBrokenError):
            warm_up(stuck, [load_workflow(tmp_path, "stubborn")], timeout=0.2)
    finally:
        release.touch()
        stuck.close()
        comfy.install_progress_hook(booted.runtime._on_step)
        booted.runtime._server.sink = booted.runtime._on_event


def test_model_files_are_those_that_the_defaults_load_and_that_are_there(tmp_path):
    workflow = load_workflow(PROJECT / "workflows", "ghibli")
    needed = [model for model in workflow.manifest.models if not model.optional]
    volume = tmp_path / "volume"
    for model in needed[1:]:
        path = volume / model.folder / model.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = model_paths(
        settings(comfyui_base_dir=tmp_path / "base", model_dirs=str(volume)), [workflow, workflow]
    )
    assert found == [volume / model.folder / model.file for model in needed[1:]]
