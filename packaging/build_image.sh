#!/usr/bin/env bash
# Builds a target of packaging/Dockerfile on base images by digest:
#   packaging/build_image.sh cpu|jetpack-6.2|jetpack-7.2 NAME[:TAG] [ARGUMENTS OF `docker build`...]
# The digests stand in packaging/images.lock. One that is missing there is read from the registry with skopeo (Debian's
# and Ubuntu's package `skopeo`) and written there. With PIN_ONLY=1 that is all that is done. BUILDER names a program to
# build with in place of docker, such as buildah.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
lock=${IMAGES_LOCK:-$here/images.lock}
target=${1:-}
name=${2:-}
if ! grep -v '^#' "$lock" | grep -Fq -- "${target:-no target} " || { [ -z "$name" ] && [ -z "${PIN_ONLY:-}" ]; }; then
  echo "build_image.sh: expected cpu, jetpack-6.2 or jetpack-7.2 and a name for the image, got '$target' '$name'" >&2
  exit 2
fi

read_digest() { # read_digest IMAGE: the sha256 of the manifest that the registry gives for the tag, for all machines
  local manifest
  manifest=$(mktemp)
  # shellcheck disable=SC2086
  if ! skopeo inspect ${SKOPEO_OPTIONS:-} --raw "docker://$1" > "$manifest"; then
    rm -f "$manifest"
    echo "build_image.sh: $1: its digest could not be read: install skopeo, or check the connection to the registry" >&2
    return 1
  fi
  echo "sha256:$(sha256sum < "$manifest" | cut -d' ' -f1)"
  rm -f "$manifest"
}

arguments=()
for stage in BUILD RUNTIME; do
  read -r image digest < <(awk -v t="$target" -v s="$stage" '$1 == t && $2 == s { print $3, $4 }' "$lock")
  if [ "$digest" = - ]; then
    digest=$(read_digest "$image")
    sed -i -E "s|^($target +$stage +$image +)-$|\1$digest|" "$lock"
    echo "build_image.sh: $image is $digest now: commit $lock"
  fi
  variable=$(tr 'a-z.-' 'A-Z__' <<< "$target")_$stage
  arguments+=(--build-arg "$variable=${image%:*}@$digest")
done
[ -z "${PIN_ONLY:-}" ] || exit 0
exec "${BUILDER:-docker}" build -f "$here/Dockerfile" --target "$target" -t "$name" "${arguments[@]}" "${@:3}" \
  "$here/.."
