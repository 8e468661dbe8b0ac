# syntax=docker/dockerfile:1

# A worker image for a CUDA GPU. Its steps are those of provision.sh, one layer each, so that the
# image and a local installation are made by one recipe. docs/provisioning.md says how to build it.
#
# The base is the smallest of NVIDIA's: PyTorch's wheels bring the CUDA libraries themselves, in the
# versions of constraints.txt. What the base adds is what pip cannot: the settings that make the
# container runtime hand in the GPU, and the compatibility driver for hosts with an older one. Its
# CUDA release is the one that PyTorch was built for: 13.0, or 12.6 for hosts with older drivers.

# true or false: whether the models are in the image, or on a volume at /runpod-volume/models.
ARG INCLUDE_MODELS=true
# 13.0 or 12.6.
ARG CUDA=13.0

# By digest: the tags are rebuilt from time to time. PyPI has PyTorch's builds for CUDA 13.0.
FROM nvidia/cuda:12.6.3-base-ubuntu24.04@sha256:c87e78933f4c16e3272123bf2f75537306596d0fbaa395a29696a22786e5ee0e AS cuda-12.6
ENV TORCH_INDEX=https://download.pytorch.org/whl/cu126

FROM nvidia/cuda:13.0.2-base-ubuntu24.04@sha256:2ab6381d970b211fb93853796dc6707eb8a72575a375c422b17cf4d8b2641701 AS cuda-13.0
ENV TORCH_INDEX=pypi

# hadolint ignore=DL3006
FROM cuda-${CUDA} AS system
ENV COMFYUI_DIR=/opt/comfyui/src \
    COMFYUI_BASE_DIR=/opt/comfyui/base \
    VIRTUAL_ENV=/opt/venv \
    PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PIP_NO_CACHE_DIR=1 \
    UV_NO_CACHE=1 \
    PYTHONUNBUFFERED=1
# No versions: the archive keeps the newest build of a package only, so that a pinned one is soon gone.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app

# ---- what is fetched, each part in a stage of its own; only the files leave these stages ---------

FROM system AS tools
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends aria2 git \
    && rm -rf /var/lib/apt/lists/*
COPY provision.sh ./
COPY listed_models listed_models
COPY provisioning provisioning

FROM tools AS comfyui
# Empty: the newest of comfyui_releases.txt.
ARG COMFYUI=
COPY comfyui_releases.txt ./
RUN ./provision.sh --fetch-only --only comfyui ${COMFYUI:+--comfyui "$COMFYUI"} \
    && python3 -m compileall -q --invalidation-mode unchecked-hash "$COMFYUI_DIR"

FROM tools AS nodes
ARG PROFILE=ghibli
COPY node_packs.txt node_packs.lock ./
# A pack may carry a file that is no Python of today; what does not compile is not imported either.
RUN ./provision.sh "$PROFILE" --fetch-only --only nodes \
    && mkdir -p "$COMFYUI_BASE_DIR/custom_nodes" "$COMFYUI_BASE_DIR/.provisioned" \
    && { python3 -m compileall -q --invalidation-mode unchecked-hash "$COMFYUI_BASE_DIR/custom_nodes" \
    || true; }

FROM tools AS models-true
ARG PROFILE=ghibli
COPY models.txt models.lock ./
# Tokens, for hosts that want a login, are build secrets and stay out of every layer.
RUN --mount=type=secret,id=civitai_token --mount=type=secret,id=hf_token \
    CIVITAI_TOKEN="$(cat /run/secrets/civitai_token 2>/dev/null || true)" \
    HF_TOKEN="$(cat /run/secrets/hf_token 2>/dev/null || true)" \
    ./provision.sh "$PROFILE" --fetch-only --only models

FROM tools AS models-false
COPY models.txt models.lock ./
# ComfyUI looks on the volume by itself; packs that look for models beside their code are led there.
RUN mkdir -p "$COMFYUI_BASE_DIR/models" \
    && ln -s /runpod-volume/models/controlnet_aux /runpod-volume/models/wd14_tagger \
    "$COMFYUI_BASE_DIR/models/"

# hadolint ignore=DL3006
FROM models-${INCLUDE_MODELS} AS models

# ---- the image: from what changes least to what changes most -------------------------------------

FROM system AS worker
ARG PROFILE=ghibli
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin worker
COPY provision.sh constraints.txt ./
COPY releases releases
COPY listed_models listed_models
COPY provisioning provisioning
RUN ./provision.sh "$PROFILE" --only torch --torch-index "$TORCH_INDEX"

COPY --from=comfyui /opt/comfyui/src /opt/comfyui/src
COPY node_packs node_packs
RUN ./provision.sh "$PROFILE" --only comfyui \
    && for folder in input output temp user; do install -d -o worker "$COMFYUI_BASE_DIR/$folder"; done

COPY node_packs.txt ./
COPY --from=nodes /opt/comfyui/base/custom_nodes /opt/comfyui/base/custom_nodes
# Git repositories that packs require are installed from where the stage nodes fetched them.
RUN --mount=type=bind,from=nodes,source=/opt/comfyui/base/.provisioned,target=/opt/comfyui/base/.provisioned,rw \
    ./provision.sh "$PROFILE" --only nodes

COPY --from=models /opt/comfyui/base/models /opt/comfyui/base/models

COPY --from=models /app/models.txt /app/models.lock ./
COPY pyproject.toml README.md LICENSE ./
COPY comfyui_runtime comfyui_runtime
COPY handler handler
COPY workflows workflows
RUN ./provision.sh "$PROFILE" --only project \
    && python -m compileall -q --invalidation-mode unchecked-hash comfyui_runtime handler node_packs workflows \
    && install -d -o worker results
RUN ./provision.sh "$PROFILE" --only index

# No library fetches anything at run time: a model that is missing is an error, or is fetched by the
# worker itself where FETCH_MODELS says so, once for all workers. And albumentations does not ask for
# its newest release at every start.
ENV HF_HUB_OFFLINE=1 \
    NO_ALBUMENTATIONS_UPDATE=1 \
    PYTHONDONTWRITEBYTECODE=1
# All of the container's addresses: which of its ports can be reached is the engine's matter.
ENV HOST=0.0.0.0
USER 10001
HEALTHCHECK --interval=30s --timeout=30s --start-period=120s \
    CMD ["python", "-m", "handler", "health"]
CMD ["python", "-m", "handler", "runpod"]
