"""Measures this project against ComfyUI's own server, in one run on one machine."""
