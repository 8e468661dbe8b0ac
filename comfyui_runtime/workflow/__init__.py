"""A workflow as data: graph, manifest, parameters. Imports nothing of ComfyUI."""
