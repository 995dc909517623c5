#!/bin/sh
# faults.sh openmpi|mpich CRIBO PICTURES FOLDER: ranks of the program that are killed, stopped, asleep or out of disk space,
# what the others then report, and what a continued run gives. The arguments are those of program.sh. 77 where the MPI is not installed.
. "$(dirname "$0")/runs.sh"
deadline=3

# go_on RUN RANKS: the run from its newest checkpoint to the end, which has the bits of a run of one process.
go_on() {
    pretrain "$2" 0 "$1" $small --resume -q
    same whole "$1" $steps
}

steps=100
small="$size --shards 4 --steps $steps"
long="$small --save-every 10 --deadline $deadline"
pretrain 0 0 whole $small -q

# begin_and_save RUN: a run that has a checkpoint.
begin_and_save() {
    begin 4 "$1" $long
    tries=0
    while ! ls "$work/$1" | grep -q '^checkpoint-.*gz$'; do
        tries=$((tries + 1))
        [ $tries -lt 600 ] || fail "$1 does not save"
        sleep 0.05
    done
}

# A rank that sleeps for less than the deadline delays the others.
begin 4 asleep $long
asleep=$(pid_of asleep 3)
kill -STOP "$asleep"
sleep 1
kill -CONT "$asleep"
ended asleep
[ $status = 0 ] || fail "a rank that slept: status $status"
same whole asleep $steps

# Stopped: every survivor names the rank.
begin_and_save stopped
kill -STOP "$(pid_of stopped 2)"
ended stopped
[ $status != 0 ] || fail "a stopped rank: status 0"
says "rank 1: rank 2 did not answer within $deadline seconds" 1
says "rank 3: rank 2 did not answer within $deadline seconds" 1
says "pretrain: rank 2 did not answer within $deadline seconds" 1
go_on stopped 2

# Killed: the launcher ends the others.
begin_and_save killed
kill -KILL "$(pid_of killed 1)"
ended killed
[ $status != 0 ] || fail "a killed rank: status 0"
go_on killed 4

# Rank 0 killed.
begin_and_save first
kill -KILL "$(pid_of first 0)"
ended first
[ $status != 0 ] || fail "a killed rank 0: status 0"
go_on first 0

# No space for checkpoints: the run goes on, and ends with status 1; with space it has the same bits.
if command -v prlimit >/dev/null; then
    begin 4 disk $small --save-every 20 --level 0
    prlimit --pid "$(pid_of disk 0)" --fsize=40960
    ended disk
    [ $status = 1 ] || fail "a full disk: status $status"
    grep -q 'File too large.*training goes on' "$work/output" || fail "a failed save is no warning"
    says "$steps steps in" 1
    pretrain 4 0 disk $small -q
    same whole disk $steps
fi
echo "all as expected"
