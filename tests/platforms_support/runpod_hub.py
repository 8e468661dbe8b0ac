"""The form of the Hub's two files, as docs.runpod.io/hub/publishing-guide gives it in tables."""

from __future__ import annotations

# docs.runpod.io/references/gpu-types#gpu-pools; the list is also runpod-flash's GpuGroup.
GPU_POOLS = (
    "AMPERE_16",
    "AMPERE_24",
    "ADA_24",
    "ADA_32_PRO",
    "AMPERE_48",
    "ADA_48_PRO",
    "AMPERE_80",
    "ADA_80_PRO",
    "HOPPER_141",
)
# docs.runpod.io/references/gpu-types, those with 24 GB and more that tests would use.
GPU_TYPES = (
    "NVIDIA A40",
    "NVIDIA GeForce RTX 3090",
    "NVIDIA GeForce RTX 4090",
    "NVIDIA GeForce RTX 5090",
    "NVIDIA L4",
    "NVIDIA L40",
    "NVIDIA L40S",
    "NVIDIA RTX 6000 Ada Generation",
    "NVIDIA RTX A5000",
    "NVIDIA RTX A6000",
)

_CUDA_VERSIONS = {
    "type": "array",
    "items": {"type": "string", "pattern": r"^\d+\.\d+$"},
    "minItems": 1,
}
_ENV_PAIR = {
    "type": "object",
    "required": ["key", "value"],
    "properties": {"key": {"type": "string"}, "value": {"type": "string"}},
    "additionalProperties": False,
}
_INPUT = {
    "type": "object",
    "required": ["name", "type", "description"],
    "properties": {
        "name": {"type": "string"},
        "type": {"enum": ["string", "number", "boolean", "huggingface"]},
        "description": {"type": "string"},
        "default": {"type": ["string", "number", "boolean"]},
        "advanced": {"type": "boolean"},
        "options": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["label", "value"],
                "properties": {"label": {"type": "string"}, "value": {"type": "string"}},
                "additionalProperties": False,
            },
        },
        "min": {"type": "number"},
        "max": {"type": "number"},
        "trueValue": {"type": "string"},
        "falseValue": {"type": "string"},
    },
    "additionalProperties": False,
    "allOf": [
        {
            "if": {"properties": {"type": {"const": kind}}},
            "then": {"properties": {"default": {"type": json_type}}},
        }
        for kind, json_type in (("string", "string"), ("number", "number"), ("boolean", "boolean"))
    ],
}

HUB_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["title", "description", "type", "category", "config"],
    "properties": {
        "title": {"type": "string", "minLength": 1},
        "description": {"type": "string", "minLength": 1},
        "type": {"const": "serverless"},
        "category": {"enum": ["audio", "embedding", "language", "video", "image"]},
        "iconUrl": {"type": "string", "format": "uri"},
        "config": {
            "type": "object",
            "required": ["runsOn", "containerDiskInGb"],
            "properties": {
                "runsOn": {"enum": ["GPU", "CPU"]},
                "containerDiskInGb": {"type": "integer", "minimum": 1},
                "cpuFlavor": {"type": "string"},
                "gpuCount": {"type": "integer", "minimum": 1},
                "gpuIds": {"type": "string"},
                "allowedCudaVersions": _CUDA_VERSIONS,
                "env": {
                    "type": "array",
                    "items": {
                        "anyOf": [
                            _ENV_PAIR,
                            {
                                "type": "object",
                                "required": ["key", "input"],
                                "properties": {"key": {"type": "string"}, "input": _INPUT},
                                "additionalProperties": False,
                            },
                        ]
                    },
                },
                "presets": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name", "defaults"],
                        "properties": {
                            "name": {"type": "string"},
                            "defaults": {
                                "type": "object",
                                "additionalProperties": {"type": ["string", "number", "boolean"]},
                            },
                        },
                        "additionalProperties": False,
                    },
                },
            },
            "additionalProperties": False,
            "if": {"properties": {"runsOn": {"const": "GPU"}}},
            "then": {"required": ["gpuCount", "gpuIds"]},
            "else": {"required": ["cpuFlavor"]},
        },
    },
    "additionalProperties": False,
}

TESTS_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["tests", "config"],
    "properties": {
        "tests": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["name", "input"],
                "properties": {
                    "name": {"type": "string", "minLength": 1},
                    "input": {"type": "object"},
                    "timeout": {"type": "integer", "minimum": 1},
                },
                "additionalProperties": False,
            },
        },
        "config": {
            "type": "object",
            "required": ["gpuTypeId", "gpuCount"],
            "properties": {
                "gpuTypeId": {"enum": list(GPU_TYPES)},
                "gpuCount": {"type": "integer", "minimum": 1},
                "env": {"type": "array", "items": _ENV_PAIR},
                "allowedCudaVersions": _CUDA_VERSIONS,
            },
            "additionalProperties": False,
        },
    },
    "additionalProperties": False,
}
