"""What the tests of the runtime on a ComfyUI server need."""
