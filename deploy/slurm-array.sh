#!/bin/bash
# One scene an array task: scenes.txt names a raster a line, cubes go to $CUBES, by the rasters' names, which must differ.
#   sbatch --array=1-$(grep -c '' scenes.txt) deploy/slurm-array.sh
# A task that is preempted or runs out of time ends in order and is queued again (exit code 75, as where another run is
# writing the cube).
#SBATCH --job-name=r2h
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=04:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

: "${SCENES:=scenes.txt}" "${CUBES:=cubes}" "${MEMORY:=14}"
scene=$(sed -n "${SLURM_ARRAY_TASK_ID}p" "$SCENES" | tr -d '\r')
case "$scene" in '' | '#'*) exit 0 ;; esac
# Without what a signed URL has after its path.
name=${scene%%\?*}
name=${name##*/}
name=${name%.*}
mkdir -p "$CUBES"

# In the background, because bash handles a signal only when its own child does not keep it waiting.
r2h reconstruct "$scene" "$CUBES/$name.zarr" --resume --memory "$MEMORY" &
run=$!
trap 'kill -TERM "$run"' TERM
code=0
wait "$run" || code=$?
# A wait that a signal cut short says nothing of the run itself.
if [ "$code" -gt 128 ]; then
    code=0
    wait "$run" || code=$?
fi
# 143 is of a signal that came before the run could answer it.
if [ "$code" -eq 75 ] || [ "$code" -eq 143 ]; then
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
fi
exit "$code"
