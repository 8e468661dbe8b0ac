"""Runs ComfyUI graphs inside the calling process. Knows nothing of events, HTTP or storage."""
