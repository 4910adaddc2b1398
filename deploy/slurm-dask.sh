#!/bin/bash
# One large mosaic on many nodes: a Dask scheduler and a worker a task, for the length of the job.
#   sbatch --nodes=8 deploy/slurm-dask.sh mosaic.tif mosaic.zarr
#SBATCH --job-name=r2h-dask
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=12:00:00
set -euo pipefail

source=$1 cube=$2
address="tcp://$(hostname):8786"
dask scheduler --port 8786 --no-dashboard &
trap 'kill $(jobs -p)' EXIT
# A worker takes one region at a time, with all cores of its task.
srun dask worker "$address" --nthreads 1 --memory-limit 15GB --death-timeout 60 &
r2h reconstruct "$source" "$cube" --resume --region 8192 --dask "$address"
