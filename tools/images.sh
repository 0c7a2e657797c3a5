#!/usr/bin/env bash
# Builds the images with docker, podman or buildah, whichever is there, or saves them as archives.
#   images.sh [serve|train ...]        builds (both, when none is named)
#   images.sh save FOLDER NAME...      writes FOLDER/NAME.tar (docker-archive), for what loads images into a cluster
# Variables: ENGINE; TAG (the version of pyproject.toml); PREFIX (of a registry, `registry.example.org/`); BASE (another
# base image); GPU=1 (images for NVIDIA GPUs, with -cuda at the end of their names); TORCH_INDEX (an index of PyTorch's CPU
# wheels, without which `train` has the CUDA build, gigabytes of it); PIP_ARGS; BUILD_ARGS (further flags of the engine).
set -euo pipefail
cd "$(dirname "$0")/.."

die() {
  printf 'images: %s\n' "$1" >&2
  [ $# -lt 2 ] || printf '  %s\n' "$2" >&2
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

works() { # a docker client without its daemon builds nothing
  case $1 in
    docker) have docker && docker info >/dev/null 2>&1 ;;
    *) have "$1" ;;
  esac
}

pick() {
  if [ -n "${ENGINE:-}" ]; then
    case $ENGINE in docker | podman | buildah) ;; *) die "ENGINE=$ENGINE is none of docker, podman, buildah." ;; esac
    works "$ENGINE" || die "ENGINE=$ENGINE cannot be used here." "It is not installed, or its daemon does not answer."
    echo "$ENGINE"
    return
  fi
  for each in docker podman buildah; do
    if works "$each"; then
      echo "$each"
      return
    fi
  done
  die "There is nothing that builds images." "Start docker, or install one: apt-get install podman, or buildah."
}

version() { sed -nE 's/^version = "(.*)"$/\1/p' pyproject.toml | head -n 1; }

tag=${TAG:-$(version)}
prefix=${PREFIX:-}

full() { # podman and buildah would put localhost/ before a short name, and no cluster would find it
  case $prefix in
    "") echo "docker.io/library/serinus-$1:$tag" ;;
    *) echo "$prefix""serinus-$1:$tag" ;;
  esac
}

build() { # target
  local name=$1 engine=$2
  local -a args=(
    --target "$1" --file Dockerfile
    --build-arg "VERSION=$tag"
    --build-arg "REVISION=$(git rev-parse --verify -q HEAD || echo unknown)"
    --build-arg "CREATED=$(date -u -d "@${SOURCE_DATE_EPOCH:-$(date +%s)}" +%Y-%m-%dT%H:%M:%SZ)"
  )
  local pip=${PIP_ARGS:-}
  [ -z "${BASE:-}" ] || args+=(--build-arg "BASE=$BASE")
  if [ -n "${GPU:-}" ]; then
    name=$1-cuda
    args+=(--build-arg "ONNXRUNTIME=onnxruntime-gpu[cuda,cudnn]")
  elif [ -n "${TORCH_INDEX:-}" ]; then
    pip="$pip --extra-index-url $TORCH_INDEX"
  fi
  [ -z "$pip" ] || args+=(--build-arg "PIP_ARGS=$pip")
  args+=(--tag "$(full "$name")")
  # BUILD_ARGS is a list of arguments.
  # shellcheck disable=SC2206
  args+=(${BUILD_ARGS:-})
  case $engine in
    docker) DOCKER_BUILDKIT=1 docker build "${args[@]}" . ;;
    podman) podman build --format docker "${args[@]}" . ;;
    buildah) buildah bud --format docker --isolation "${BUILDAH_ISOLATION:-chroot}" "${args[@]}" . ;;
  esac
  echo "built $(full "$name")"
}

save() { # folder name...
  local folder=$1 engine
  shift
  engine=$(pick)
  mkdir -p "$folder"
  for each; do
    rm -f "$folder/$each.tar"
    case $engine in
      docker) docker save -o "$folder/$each.tar" "$(full "$each")" ;;
      podman) podman save -q --format docker-archive -o "$folder/$each.tar" "$(full "$each")" ;;
      buildah) buildah push -q "$(full "$each")" "docker-archive:$folder/$each.tar:$(full "$each")" ;;
    esac
    echo "saved $folder/$each.tar"
  done
}

case ${1:-} in
  save)
    [ $# -ge 3 ] || die "save needs a folder and names."
    shift
    save "$@"
    ;;
  *)
    engine=$(pick)
    [ $# -gt 0 ] || set -- serve train
    for target; do
      case $target in serve | train) ;; *) die "There is no target $target; there are serve and train." ;; esac
    done
    for target; do build "$target" "$engine"; done
    ;;
esac
