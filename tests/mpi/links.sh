#!/bin/sh
# links.sh openmpi|mpich CRIBO PICTURES FOLDER [CUTS]: runs of the program on four hosts that are network namespaces, whose links
# get slow or are cut in the middle of a run; what the ranks then report, and what a continued run gives. The arguments are
# those of program.sh. CUTS more runs lose the link of a host, both drawn at random. 77 where the hosts cannot be made.
. "$(dirname "$0")/runs.sh"
deadline=3 steps=60 name=cl$$
small="$size --shards 4 --steps $steps"
long="$small --save-every 5 --deadline $deadline"
export LIMIT=600 # seconds for a run: ranks that wait busily take the processors from each other on a loaded machine
export UCX_TLS=tcp,self UCX_NET_DEVICES=eth0,lo # or MPICH over UCX does not use the links: see namespaces.sh

# begin_hosts RUN STEPS: starts a run on four hosts, and waits for this number of lines in its log.
begin_hosts() {
    NAME=$name sh "$here/namespaces.sh" "$flavour" exit "$cribo" pretrain "$images" -o "$work/$1" $long >"$work/output" 2>&1 &
    launched=$!
    tries=0
    until [ -s "$work/$1/log.jsonl" ] && [ "$(wc -l <"$work/$1/log.jsonl")" -ge "$2" ]; do
        tries=$((tries + 1))
        kill -0 $launched 2>/dev/null || { wait $launched; skipped=$?; [ $skipped = 77 ] && cat "$work/output" && exit 77; fail "$1 ended early"; }
        [ $tries -lt 600 ] || fail "$1 does not begin"
        sleep 0.1
    done
}

# on HOST COMMAND...: runs a command in the namespace of a host.
on() {
    host=$1
    shift
    ip netns exec "$name-$host" "$@"
}

# lost RUN: waits until all ranks have ended, at most the deadline and a minute, and ends the launcher, which may wait for the
# lost host. "says" then looks into the ranks' messages.
lost() {
    tries=0
    while [ -n "$(pid_of "$1" 0)$(pid_of "$1" 1)$(pid_of "$1" 2)$(pid_of "$1" 3)" ]; do
        tries=$((tries + 1))
        [ $tries -lt $((2 * (deadline + 60))) ] || fail "$1: a rank does not end"
        sleep 0.5
    done
    sleep 1 # the last messages
    pkill -P $launched timeout 2>/dev/null
    wait $launched
}

# reports RANK: at least one rank reports that this one did not answer ("[0-9]": any). A rank may name the rank
# that it waits for instead, if it has waited for longer than that one: bytes that a slow link passes on begin a wait anew. And the
# launcher may end ranks after the first one's report.
reports() {
    all=$(grep -c 'rank [0-9] did not answer within' "$work/output")
    right=$(grep -c "rank $1 did not answer within $deadline seconds" "$work/output")
    [ "$right" -ge 1 ] || fail "$right of $all reports name rank $1"
}

# go_on RUN RANKS: the run from its newest checkpoint to the end has the bits of a run of one process.
go_on() {
    pretrain "$2" 0 "$1" $small --resume -q
    same whole "$1" $steps
}

pretrain 0 0 whole $small -q

# A link that gets slower, but passes on each transfer within the deadline: the same bits.
begin_hosts slow 8
on 2 tc qdisc replace dev eth0 root tbf rate 20mbit burst 20kb latency 200ms || fail "no slow link"
wait $launched
status=$?
says "$steps steps in" 1
[ $status = 0 ] || [ "$flavour" = mpich ] || fail "a slow link: status $status" # MPICH may hang in MPI_Finalize
same whole slow $steps

# A link that passes on nearly nothing.
begin_hosts slower 8
on 2 tc qdisc replace dev eth0 root tbf rate 8kbit burst 1600b latency 2s || fail "no slower link"
lost slower
reports '[0-9]'
go_on slower 2

# A link that is cut. The rank behind it reaches its deadline, too, but its message does not arrive.
begin_hosts cut 8
on 2 ip link set eth0 down
lost cut
reports 2
go_on cut 4

draw() { awk -v seed=$((cuts * 7919 + $1)) -v most="$2" 'BEGIN { srand(seed); rand(); print int(most * rand()) }'; }
cuts=0
while [ $cuts -lt "${5-0}" ]; do
    cuts=$((cuts + 1)) host=$((1 + $(draw 1 3)))
    rm -rf "$work/random"
    begin_hosts random $((6 + $(draw 2 30)))
    on "$host" ip link set eth0 down
    lost random
    reports "$host"
    at=$(grep -c . "$work/random/log.jsonl")
    go_on random $((1 << $(draw 3 3)))
    echo "cut $cuts: host $host, after step $at"
done
echo "all as expected"
