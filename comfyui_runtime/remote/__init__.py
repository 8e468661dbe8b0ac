"""A ComfyUI server elsewhere, used as a runtime."""
