#!/bin/sh
# Build the image without a daemon and reconstruct the demo's photograph in it as its own user.
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
    in_box python -c "import os, shutil, skimage.data
assert os.getuid() == 1000, os.getuid()
shutil.copy(os.path.join(os.path.dirname(skimage.data.__file__), 'coffee.png'), '.')"
    in_box r2h reconstruct coffee.png plain.zarr
    in_box r2h reconstruct coffee.png prefect.zarr --prefect
    in_box r2h reconstruct coffee.png dask.zarr --dask local:2
    in_box diff -r plain.zarr prefect.zarr
    in_box diff -r plain.zarr dask.zarr
    in_box r2h look plain.zarr
    in_box r2h info plain.zarr
    in_box prefect version
    $BUILDAH images r2h
}
