#!/bin/sh
# Training over one of the MPIs gives the bytes of one process, and runs pass between numbers of ranks and hosts:
# train.sh openmpi|mpich PROGRAM. 77 where the MPI is not installed.
flavour=$1 program=$2
here=$(dirname "$0")
command -v "mpirun.$flavour" >/dev/null || { echo "there is no mpirun.$flavour"; exit 77; }
work=$(mktemp -d "${TMPDIR:-/tmp}/ranks-XXXXXX") || exit 2
trap 'rm -rf "$work"' EXIT

train() { # RANKS ARGUMENT ...
    ranks=$1
    shift
    sh "$here/run.sh" "$flavour" "$ranks" exit "$program" "$@" || { echo "failed with $ranks ranks: $*"; exit 1; }
}
same() { cmp "$work/$1" "$work/$2" || { echo "$2 differs from $1"; exit 1; }; }

for bits in float32 bf16; do
    train 1 $bits 0 20 - "$work/one"
    for ranks in 2 4 8; do
        train $ranks $bits 0 20 - "$work/several"
        same one several
    done
done
# From two ranks to eight, to four, each going on from the checkpoint before.
train 1 float32 0 20 - "$work/one"
train 2 float32 0 6 - "$work/six"
train 8 float32 6 6 "$work/six" "$work/twelve"
train 4 float32 12 8 "$work/twelve" "$work/twenty"
same one twenty
# Four hosts.
sh "$here/namespaces.sh" "$flavour" exit "$program" float32 0 20 - "$work/hosts"
case $? in
0) same one hosts ;;
77) echo 'without network namespaces' ;;
*) exit 1 ;;
esac
