"""ComfyUI in this process: its start, and the runs on its device."""
