"""The models of a job's graph: those that are being fetched, and those that URLs name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from comfyui_runtime.workflow.model_inputs import model_addresses

if TYPE_CHECKING:
    from contextlib import ExitStack

    from comfyui_runtime.run.cancellation import Cancellation
    from comfyui_runtime.workflow.manifest import Workflow
    from comfyui_runtime.workflow.patch import PatchedGraph
    from handler.models.by_url import UrlModels
    from handler.models.fetching import ModelFetching


@dataclass(frozen=True)
class GraphModels:
    """Gets what graphs need that no models folder has.

    Attributes:
        fetching: The models that are fetched since the start; ``None`` where none are.
        by_url: Gets models that events name by URL.
    """

    fetching: ModelFetching | None
    by_url: UrlModels

    def bring(
        self,
        workflow: Workflow,
        patched: PatchedGraph,
        cancellation: Cancellation,
        at_end: ExitStack,
    ) -> PatchedGraph:
        """Return the graph once its models are there, with file names in place of URLs.

        Args:
            workflow: Where the graph comes from.
            at_end: Lets go of the models that URLs name at the job's end.

        Raises:
            MissingModelError: A model could not be fetched.
            InputError: A model that a URL names cannot be had.
            CancelledError: The job was cancelled.
            DeadlineError: The job's time is up.
        """
        if self.fetching is not None:
            self.fetching.wait_for(patched.graph.texts(), cancellation)
        addresses = model_addresses(workflow, patched.graph)
        if not addresses:
            return patched
        job_models = at_end.enter_context(self.by_url.for_job())
        graph = patched.graph
        for place, (folder, address) in addresses.items():
            name = job_models.name_of(folder, address, cancellation)
            graph = graph.with_input(place.node_id, place.name, name)
        return replace(patched, graph=graph)
