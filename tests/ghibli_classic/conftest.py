"""The workflow, and the node classes that it needs: ComfyUI's real ones, stand-ins for the rest."""

from __future__ import annotations

import pytest
from places import PROJECT

from comfyui_runtime.in_process import comfy
from comfyui_runtime.workflow.manifest import Workflow, load_workflow
from ghibli_classic.node_definitions import Definition, core_definition, recorded_definitions
from ghibli_classic.stand_ins import Calls, StandIns, stand_in_classes

WORKFLOWS = PROJECT / "workflows"


@pytest.fixture(scope="session")
def classic() -> Workflow:
    return load_workflow(WORKFLOWS, "ghibli-classic")


@pytest.fixture(scope="session")
def recorded() -> dict[str, Definition]:
    return recorded_definitions()


@pytest.fixture(scope="module")
def model_files(classic, booted) -> dict[str, frozenset[str]]:
    """Empty files with the names of the models, for nodes that choose among what is there."""
    paths = [
        booted.base_dir / "models" / model.folder / model.file for model in classic.manifest.models
    ]
    made = [path for path in paths if not path.exists()]
    for path in made:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    yield {
        path.parent.name: frozenset(file.name for file in path.parent.iterdir()) for path in paths
    }
    for path in made:
        path.unlink()


@pytest.fixture(scope="module")
def definitions(classic, recorded, model_files) -> dict[str, Definition]:
    """Of every class of the graph: the packs' as recorded, ComfyUI's as it declares them."""
    classes = comfy.node_classes()
    core = {node.class_type for node in classic.graph.nodes.values()} - recorded.keys()
    return recorded | {name: core_definition(classes[name]) for name in core}


# Made once: ComfyUI keeps a node's object from run to run, and with it the class it was made of.
@pytest.fixture(scope="session")
def stand_ins(recorded) -> StandIns:
    return stand_in_classes(recorded)


@pytest.fixture
def calls(stand_ins, booted) -> Calls:
    """Stand-ins for the packs' classes in ComfyUI's table, and the calls that they get."""
    table = comfy.node_classes()
    table.update(stand_ins.classes)
    stand_ins.calls.clear()
    yield stand_ins.calls
    for name in stand_ins.classes:
        del table[name]
