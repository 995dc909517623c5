#!/bin/sh
# Measures training on several ranks with benchmark_ranks_openmpi or benchmark_ranks_mpich (PROGRAM), of this MPI:
#
#   ranks.sh pairs openmpi|mpich PROGRAM PAIRS STEPS [NAME=VALUE ...]
#       one process of two threads against two ranks of one thread, with the same batch and shards=2, in turn. The
#       medians of a step's ms and CPU s, and of the pairs' speed ratios (above 1: the ranks are faster).
#   ranks.sh links openmpi|mpich PROGRAM ROUNDS STEPS 'RATE ...' [NAME=VALUE ...]
#       four ranks on four hosts that are network namespaces, whose links have these rates in Mbit/s (0: not limited), in turn.
#       Medians over the rounds. "hidden" is the part of the gradients' exchange that takes no time of the step:
#       1 - (learn - learn without a limit) / (bytes of the gradients / rate). OTHER in the environment is a folder with
#       another version of the libraries: both are measured in turn. Needs root. Open MPI only: see namespaces.sh.
#   ranks.sh memory openmpi|mpich CRIBO PICTURES RANKS [OPTION ...]
#       CRIBO pretrain with OPTIONs, and each rank's greatest resident memory (VmHWM, MiB).
#
# Other load makes the times longer: compare the CPU times, too.
here=$(dirname "$0")/../mpi what=$1 flavour=$2 program=$3
shift 3
export LIMIT="${LIMIT-3600}"
work=$(mktemp -d "${TMPDIR:-/tmp}/ranks-XXXXXX") || exit 2
trap 'rm -rf "$work"' EXIT

median() { sort -n | awk '{ x[NR] = $1 } END { print (x[int((NR + 1) / 2)] + x[int((NR + 2) / 2)]) / 2 }'; }
column() { awk -v n="$2" '{ print $n }' "$work/$1" | median; }

case $what in
pairs)
    pairs=$1 steps=$2
    shift 2
    for pair in $(seq "$pairs"); do
        order='1 2'
        [ $((pair % 2)) = 0 ] && order='2 1'
        for ranks in $order; do
            sh "$here/run.sh" "$flavour" "$ranks" exit "$program" "$steps" shards=2 "$@" threads=$((3 - ranks)) >"$work/line" || exit 1
            cat "$work/line" >>"$work/$ranks"
        done
        paste "$work/1" "$work/2" | tail -n 1 | awk '{ print $5 / $20 }' >>"$work/ratios"
    done
    echo "one process of two threads: $(column 1 5) ms, $(column 1 10) CPU s"
    echo "two ranks of one thread:    $(column 2 5) ms, $(column 2 10) CPU s, $(column 2 11) MB sent"
    echo "speed ratio, median of $pairs pairs: $(median <"$work/ratios"); CPU time: $(column 1 10) / $(column 2 10)"
    ;;
links)
    rounds=$1 steps=$2 rates=$3
    shift 3
    for round in $(seq "$rounds"); do
        for rate in 0 $rates; do
            for version in '' ${OTHER:+other}; do
                link=
                # The queue holds 50 ms, and the buckets of tokens are small enough for the rate.
                [ "$rate" = 0 ] || link="tbf rate ${rate}mbit burst $((16 + rate / 4))kb latency 50ms"
                LINK=$link LD_LIBRARY_PATH=${version:+$OTHER:}${LD_LIBRARY_PATH-} sh "$here/namespaces.sh" "$flavour" exit \
                    "$program" "$steps" "$@" >"$work/line" || { cat "$work/line"; exit 1; }
                grep '^4 ' "$work/line" >>"$work/$rate$version"
            done
        done
    done
    for version in '' ${OTHER:+other}; do
        printf '%-6s %10s %10s %10s %10s %10s %8s %8s %8s\n' "$version" Mbit/s step,ms teach learn update CPU,s MB requests hidden
        for rate in 0 $rates; do
            name=$rate$version
            learn=$(column "$name" 7) free=$(column "0$version" 7) mb=$(column "$name" 11)
            hidden=$(awk -v r="$rate" -v l="$learn" -v f="$free" -v mb="$mb" 'BEGIN { if (r) print 1 - (l - f) / (mb / 2 * 8e3 / r); else print "-" }')
            printf '%-6s %10s %10s %10s %10s %10s %8s %8s %8s\n' '' "$rate" "$(column "$name" 5)" "$(column "$name" 6)" "$learn" \
                "$(column "$name" 8)" "$(column "$name" 10)" "$mb" "$(column "$name" 12)" "$hidden"
        done
    done
    ;;
memory)
    pictures=$1 ranks=$2
    shift 2
    sh "$here/run.sh" "$flavour" "$ranks" exit "$program" pretrain "$pictures" -o "$work/run" "$@" >"$work/output" 2>&1 &
    launched=$!
    while kill -0 $launched 2>/dev/null; do
        for pid in $(pgrep -x cribo); do
            { tr '\0' '\n' <"/proc/$pid/cmdline"; } 2>/dev/null | grep -qx "$work/run" || continue
            rank=$({ tr '\0' '\n' <"/proc/$pid/environ"; } 2>/dev/null | sed -n 's/^\(OMPI_COMM_WORLD_RANK\|PMI_RANK\)=//p')
            peak=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$pid/status" 2>/dev/null)
            [ -z "$peak" ] || echo "$((peak / 1024))" >"$work/rank-${rank:-0}"
        done
        sleep 0.5
    done
    wait $launched
    echo "status $?"
    cat "$work/output"
    for file in "$work"/rank-*; do echo "${file##*/}: $(cat "$file") MiB"; done
    ;;
*) sed -n '2,20p' "$0"; exit 2 ;;
esac
