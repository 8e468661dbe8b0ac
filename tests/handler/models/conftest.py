"""A host of models on loopback, and settings of a worker whose volume is empty."""

from __future__ import annotations

import json

import pytest
from provisioning_support.file_server import FileServer

from handler.settings import load_settings

MANIFEST = """
title = "T"
description = "D"
version = "1"

[[models]]
folder = "loras"
file = "style.safetensors"
"""


@pytest.fixture
def host():
    server = FileServer()
    yield server
    server.close()


@pytest.fixture
def volume(tmp_path):
    folder = tmp_path / "volume" / "models"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def make_settings(tmp_path, volume, monkeypatch):
    """Makes settings with one workflow, which loads loras/style.safetensors."""
    monkeypatch.chdir(tmp_path)
    workflow = tmp_path / "workflows" / "styled"
    workflow.mkdir(parents=True)
    (workflow / "manifest.toml").write_text(MANIFEST)
    (workflow / "graph.json").write_text(json.dumps({"1": {"class_type": "Any", "inputs": {}}}))

    def make(entries="", **updates):
        (tmp_path / "models.txt").write_text(f"# groups: styled\n{entries}")
        return load_settings(
            **{
                "device": "cpu",
                "workflows_dir": tmp_path / "workflows",
                "results_dir": tmp_path / "results",
                "comfyui_base_dir": tmp_path / "base",
                "model_dirs": str(volume),
                "models_list": tmp_path / "models.txt",
                "hub_cache_dir": tmp_path / "hub",
                "fetch_models": "start",
                **updates,
            }
        )

    return make
