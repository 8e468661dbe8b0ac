"""Runs ComfyUI graphs, in this process or on a server. Knows nothing of events or storage."""
