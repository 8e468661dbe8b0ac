"""Node classes of our own, registered with ComfyUI at boot."""
