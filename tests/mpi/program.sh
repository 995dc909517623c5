#!/bin/sh
# program.sh openmpi|mpich CRIBO PICTURES FOLDER: runs of the program under an MPI against runs of one process. CRIBO is the program,
# PICTURES the one that makes pictures, FOLDER has libcribo-openmpi and libcribo-mpich. 77 where the MPI is not installed.
. "$(dirname "$0")/runs.sh"
small="$size --shards 4"

# The same bits; only rank 0 speaks.
pretrain 0 0 whole $small --steps 20
for ranks in 1 2 4; do
    pretrain $ranks 0 ranks-$ranks $small --steps 20
    same whole ranks-$ranks
    says 'broken.jpg: a text' 2
    says '2 of 26 pictures could not be read' 1
    says 'step 20/20' 1
    says 'weights  ' 1
done

# A signal that one rank hears ends all after the same step. The run goes on with other numbers of ranks; drawings at the end of
# each epoch and saves of rank 0 keep no one waiting too long.
begin 4 stopped $small --steps 20000 --threads 1
kill -TERM "$(sed 1q "$work/stopped/lock")"
wait $launched
status=$?
[ $status = 143 ] || fail "SIGTERM: status $status"
says 'stopping early and saving' 1
done=$(wc -l <"$work/stopped/log.jsonl")
more="--steps $((done + 6)) --override steps --save-every 2"
pretrain 2 0 stopped $small $more --stop-after $((done + 2))
pretrain 4 0 stopped $small $more --stop-after $((done + 4)) --save-in-background --evaluate-epochs 1 --deadline 20
pretrain 0 0 stopped $small $more
pretrain 0 0 straight $small --steps 20000 --stop-after "$done"
pretrain 0 0 straight $small $more
same straight stopped $((done + 6))

# A run by default has as many shards as ranks.
pretrain 4 0 shards $size --steps 3 -q
grep -q '"shards": 4' "$work/shards/config.json" || fail "not 4 shards"
pretrain 0 0 shards-alone $small --steps 3 -q
same shards-alone shards 3

# Updates that are skipped.
pretrain 0 0 skips $small --steps 80 --skip-spikes=0.2 -q
pretrain 4 0 skips-4 $small --steps 80 --skip-spikes=0.2 -q
grep -q '"skipped":true' "$work/skips/log.jsonl" || fail "nothing was skipped"
same skips skips-4 80

# A length as a time: all ranks step, rank 0 plans, and the plan stays when the run goes on, with other numbers of ranks.
pretrain 4 0 timed $small --time 2s --stop-after 1
says 'timing some steps' 1
says 'were timed), so the run has' 1
steps=$(sed -n '/"time"/,/}/s/.*"steps": \([0-9]*\).*/\1/p' "$work/timed/config.json")
grep -q "\"total_steps\": $steps," "$work/timed/config.json" || fail "the settings have another length than the plan"
[ "$steps" -gt 1 ] || fail "$steps steps in 2 s"
pretrain 2 0 timed $small --time 2s --stop-after 2 -q
pretrain 0 0 timed $small -q
pretrain 0 0 counted $small --steps "$steps" -q
[ "$(wc -l <"$work/timed/log.jsonl")" = "$(wc -l <"$work/counted/log.jsonl")" ] || fail "not $steps steps in the log"
cmp "$work/timed/weights.safetensors" "$work/counted/weights.safetensors" || fail "timed: other weights"
pretrain 2 1 timed $small --time 1m
says "--time is 2s in the checkpoint, not 1m" 1

# So many broken pictures that batches get smaller: the ranks' parts are cut anew.
images=$work/few
mkdir "$images"
"$pictures" "$images" 6 >"$work/output"
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
    echo nonsense >"$images/$i.jpg"
done
pretrain 0 0 few $small --steps 20 -q
grep -q '"images":7' "$work/few/log.jsonl" || fail "no batch got smaller: $(grep -o '"images":[0-9]*' "$work/few/log.jsonl" | sort | uniq -c)"
pretrain 4 0 few-4 $small --steps 20 --stop-after 7 -q
pretrain 2 0 few-4 $small --steps 20 --save-every 5 -q
same few few-4
images=$work/pictures

# Errors are said once, change nothing, and name what is wrong.
pretrain 4 1 none $small --shards 2
says "--shards is 2, which 4 ranks do not divide; start at most 2, or give --shards 4" 1
pretrain 4 1 none $small --batch-size 2 --shards 4
says "a batch of 2 pictures is too small for 4 ranks" 1
pretrain 3 1 none $small
says "started 3 processes: their number must be a power of two" 1
pretrain 2 1 none $small --communicator gloo
says 'communicator "gloo": expected openmpi, mpich or none' 1
pretrain 2 2 none $small --no-such-option
says "unrecognized option '--no-such-option'" 1
pretrain 2 1 stopped $small --learning-rate 0.5
says "--learning-rate is 0.004 in the checkpoint" 1
pretrain 2 1 ranks-2 $small --shards 1 --override shards
says "--shards is 1, which 2 ranks do not divide; start at most 1, or give --override shards=2" 1
# Ranks that were given other options, or whose pictures or weights are not the same.
pretrain 1 1 none $small : -n 1 "$cribo" pretrain "$images" -o "$work/none" $small --save-every 7
says "rank 1: --save-every=7 here, but --save-every=0 on rank 0: all ranks must have the same" 1
pretrain 1 1 none $small : -n 1 "$cribo" pretrain "$images" -o "$work/none" $small --learning-rate 0.5
says "rank 1: --learning-rate=0.5 here, but --learning-rate=0.004 on rank 0" 1
pretrain 1 1 none $small --jitter 0.5 : -n 1 "$cribo" pretrain "$images" -o "$work/none" $small
says "rank 1: no --jitter here, but --jitter=0.5 on rank 0" 1
cp -r "$images" "$work/others"
mv "$work/others/005-broken.jpg" "$work/others/006-broken.jpg"
rm -rf "$work/none"
pretrain 1 1 none $small : -n 1 env TMPDIR="$work" "$cribo" pretrain "$work/others" -o "$work/none-1" $small
says "which are not the 26 of rank 0" 1
pretrain 0 0 other-weights $small --seed 5 --steps 1
pretrain 1 1 none $small --weights "$work/whole/weights.safetensors" : \
    -n 1 "$cribo" pretrain "$images" -o "$work/none" $small --weights "$work/other-weights/weights.safetensors"
says "has other values on rank 1 than on rank 0: all ranks begin with the same weights" 1

case $flavour in openmpi) other=mpich ;; *) other=openmpi ;; esac
if [ -e "$4/libcribo-$other.so.0" ]; then
    pretrain 2 1 none $small --communicator "$other"
    says "started 2 processes, but the communicator $other finds 1" 1
fi
CRIBO_COMMUNICATOR=none pretrain 2 1 alone $small --steps 200000 --stop-after 200
says "is training in it" 1
LD_LIBRARY_PATH=/nonexistent pretrain 2 1 none $small
says "cannot load the communicator $flavour: libcribo-$flavour.so.0" 2
[ -e "$work/none/weights.safetensors" ] && fail "a refused run has weights"
same whole ranks-2
echo "all as expected"
