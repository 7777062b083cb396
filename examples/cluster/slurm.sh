#!/usr/bin/env bash
# A search on four nodes of Slurm: sbatch slurm.sh. The folder that it is sent from is one that all nodes see, with the
# images in photos/ and a .venv that has cnn-tuner[ray]; the run is left in runs/.
#SBATCH --job-name=cnn-tuner
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=01:30:00
set -euo pipefail

export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n') # known to this job only
export RAY_AUTH_TOKEN

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
head=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | awk '{print $1}')

# Ray is started on every node; on the first one the search, which ends well within the time of the job.
srun --export=ALL .venv/bin/ray symmetric-run --address "$head:6379" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus "$SLURM_CPUS_PER_TASK" -- \
    .venv/bin/cnn-tuner tune --data photos/ --address "$head:6379" --cpus-per-trial 4 --budget 1h
