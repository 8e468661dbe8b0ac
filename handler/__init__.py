"""Turns an invocation event into a response: inputs, one ComfyUI run, storage."""
