#!/bin/sh
# Runs a program under one of the MPIs: run.sh openmpi|mpich RANKS each|exit PROGRAM [ARGUMENT ...]
#
#   exit   the launcher's exit status shows success or failure
#   each   every rank must print "rank R: as expected": for ranks that end without MPI_Finalize, which the launcher
#          takes for a failure
#
# 77 where the MPI is not installed.
flavour=$1 ranks=$2 judge=$3
shift 3
launcher=$(command -v "mpirun.$flavour") || { echo "there is no mpirun.$flavour"; exit 77; }
options=
if [ "$flavour" = openmpi ]; then
    # Root in containers; more ranks than cores, which then need not yield them: waiting ranks sleep.
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    options='--oversubscribe --mca btl self,vader,tcp --mca mpi_yield_when_idle 0'
fi
if [ "$judge" = exit ]; then exec timeout -k 5 "${LIMIT-120}" "$launcher" $options -n "$ranks" "$@"; fi
output=$(timeout -k 5 "${LIMIT-120}" "$launcher" $options -n "$ranks" "$@" 2>&1)
found=$(printf '%s\n' "$output" | grep -c '^rank [0-9]*: as expected$')
[ "$found" = "$ranks" ] || { printf '%s\n' "$output"; echo "$found of $ranks ranks ended as expected"; exit 1; }
