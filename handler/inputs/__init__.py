"""Inputs: from what an event names to pixels and files, without trusting any of it."""

from handler.inputs.fetcher import InputFetcher

__all__ = ["InputFetcher"]
