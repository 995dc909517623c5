#!/bin/sh
# ranks.sh openmpi|mpich CRIBO PICTURES FOLDER SECONDS: a run of the program under an MPI for SECONDS, whose ranks are killed, stopped or
# asked to end at moments drawn at random. It is started again each time, on 1, 2 or 4 ranks. At the end a run of one process to the same
# step must have the same weights, checkpoint and log. FOLDER has libcribo-openmpi and libcribo-mpich.
. "$(dirname "$0")/../mpi/runs.sh"
here=$here/../mpi deadline=3
settings="$size --shards 4 --steps 1000000 --warmup-steps 100 --teacher-temperature-steps 200 --cross-image-steps 20
    --freeze-last-layer-steps 20 --quiet"

draw() { awk -v seed=$((faults * 7919 + $1)) -v most="$2" 'BEGIN { srand(seed); rand(); print int(most * rand()) }'; }

end=$(($(date +%s) + $5)) faults=0
while [ "$(date +%s)" -lt "$end" ]; do
    count=$((1 << $(draw 1 3)))
    begin $count ranks $settings --save-every 20 --deadline $deadline
    sleep $((1 + $(draw 2 8)))
    victim=$(pid_of ranks "$(draw 3 $count)")
    [ -n "$victim" ] || fail "a rank ended by itself"
    case $(draw 4 3) in 0) signal=TERM ;; 1) signal=KILL ;; *) [ $count = 1 ] && signal=KILL || signal=STOP ;; esac
    kill -$signal "$victim"
    ended ranks
    faults=$((faults + 1))
    echo "fault $faults: SIG$signal to one of $count ranks at step $(grep -c . "$work/ranks/log.jsonl"), status $status"
    [ $status != 0 ] || fail "status 0"
done
last=$(grep -c . "$work/ranks/log.jsonl")
pretrain 2 0 ranks $settings --stop-after "$last"
pretrain 0 0 whole $settings --stop-after "$last"
same whole ranks "$last"
echo "$faults faults in $last steps: the same weights, checkpoint and log"
