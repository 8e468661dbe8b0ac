"""Comfy API v2: the protocol of ComfyUI's own SDKs, beside this service's."""

from handler.api_v2.app import make_mounted, open_api_v2
from handler.api_v2.state import ApiV2
from handler.api_v2.views import PATH

__all__ = ["PATH", "ApiV2", "make_mounted", "open_api_v2"]
