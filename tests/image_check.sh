#!/bin/sh
# Build the image without a daemon and reconstruct a picture in it as its own user.
# BUILDAH runs buildah (with storage options, as you need), BUILDAH_ARGS goes to its build (volumes,
# build arguments), FLAGS to build and run. Leaves the image, named r2h, behind.
set -eu
cd "$(dirname "$0")/.."
: "${BUILDAH:=buildah}" "${BUILDAH_ARGS:=}" "${FLAGS:=--isolation chroot}"
# shellcheck disable=SC2086
{
    $BUILDAH build $FLAGS $BUILDAH_ARGS --tag r2h .
    box=$($BUILDAH from --pull-never r2h)
    trap '$BUILDAH rm "$box" >/dev/null' EXIT
    in_box() { $BUILDAH run $FLAGS "$box" -- "$@"; }
    in_box r2h --help
    in_box r2h model info --json
    in_box python -c "import os, skimage.data as data, skimage.io as io
assert os.getuid() == 1000, os.getuid()
io.imsave('small.png', data.astronaut()[:96, :80])"
    in_box r2h reconstruct small.png small.zarr
    in_box r2h info small.zarr
}
