"""Measures this project beside ComfyUI's own server, in one run on one machine."""
