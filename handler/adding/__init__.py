"""From a file that ComfyUI saved to a workflow folder: what ``python -m handler add`` does."""
