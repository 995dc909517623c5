#!/bin/sh
# resume.sh CRIBO PICTURES: runs that are killed or interrupted, and resumed, against one that never stopped. CRIBO is the program,
# PICTURES the one that makes pictures.
. "$(dirname "$0")/expect.sh"

# same WHOLE RUN: are RUN's weights, last checkpoint and log, but for times, those of the run that never stopped?
same() {
    cmp "$1/weights.safetensors" "$2/weights.safetensors" || fail "$2: other weights"
    cmp "$1/$last" "$2/$last" || fail "$2: another checkpoint"
    for run in "$1" "$2"; do sed 's/"\(teach_ms\|wait_ms\)".*//' "$run/log.jsonl" >"$run/steps"; done
    cmp "$1/steps" "$2/steps" || fail "$2: another log"
    [ -s "$2/loss.png" ] || fail "$2: no losses drawn"
}

# stop SIGNAL FILE ARGUMENTS...: pretrains until FILE is there, sends the signal, returns the exit status.
stop() {
    signal=$1 file=$2
    shift 2
    "$cribo" pretrain "$@" >"$work/output" 2>&1 &
    process=$!
    tries=0
    while [ ! -s "$file" ] && [ $tries -lt 3000 ] && kill -0 $process 2>/dev/null; do
        sleep 0.01
        tries=$((tries + 1))
    done
    kill -$signal $process
    wait $process
}

# Two of the files are broken; an epoch has three batches.
mkdir "$work/pictures"
"$pictures" "$work/pictures" 12 || fail "no pictures"
echo nonsense >"$work/pictures/005-broken.jpg"
echo nonsense >"$work/pictures/broken.jpg"
steps=100
last=checkpoint-00000100.safetensors.gz
small="--image-size 32 --patch-size 8 --width 48 --heads 2 --depth 2 --head-hidden 64 --head-bottleneck 32 --prototypes 64
    --object-prototypes 64 --clusters 4 --bank-images 20 --batch-size 4 --learning-rate 0.004 --steps $steps --keep 3"
expect 0 " GiB of memory for the trainer" pretrain "$work/pictures" -o "$work/whole" $small --threads 2 --workers 2 --save-every 0
[ "$(ls "$work/whole" | grep -c ^checkpoint-)" -eq 1 ] || fail "saved more than the end"

# Killed in an epoch, after which the log ran ahead and tore; resumed with other threads, its settings from the checkpoint.
stop KILL "$work/killed/checkpoint-00000010.safetensors.gz" "$work/pictures" -o "$work/killed" $small --threads 2 --workers 1 \
    --save-every 5
status=$?
[ $status -eq 137 ] || fail "the run to be killed ended with status $status: $(cat "$work/output")"
printf '{"step":98,"loss":1}\n{"step":99,"lo' >>"$work/killed/log.jsonl"
echo torn >"$work/killed/$last.1-0.tmp"
expect 0 "steps are done: going on from $work/killed/checkpoint-" pretrain "$work/pictures/" -o "$work/killed" --resume --threads 1 --workers 3 --keep 3 --save-every 5
same "$work/whole" "$work/killed"
grep -q broken.jpg: "$work/output" && fail "broken files were reported again"
[ "$(ls "$work/killed" | grep -c ^checkpoint-)" -eq 3 ] || fail "not three checkpoints: $(ls "$work/killed")"
[ -e "$work/killed/checkpoint-00000095.safetensors.gz" ] || fail "not the newest checkpoints: $(ls "$work/killed")"

# Views are made by the recipe that the run was begun with: another one is refused unless it is meant, and then kept.
expect 0 "" pretrain "$work/pictures" -o "$work/views" $small --solarise 0.5 --crop-area-min 0.3 --stop-after 5 --threads 1 -q
expect 1 "solarise is 0.5 in the checkpoint, not 0" pretrain "$work/pictures" -o "$work/views" $small --solarise 0 --stop-after 7
expect 0 "" pretrain "$work/pictures" -o "$work/views" $small --stop-after 7 --threads 1 -q --solarise 0,0.25 --override solarise
grep -q '"crop_area_min": "0.29999999999999999"\|"crop_area_min": "0.3"' "$work/views/config.json" || fail "the recipe is not the checkpoint's"
grep -q '"solarise": "0,0.25"' "$work/views/config.json" || fail "the recipe was not overridden"
expect 1 "solarise is 0,0.25 in the checkpoint" pretrain "$work/pictures" -o "$work/views" $small --solarise 0.5 --stop-after 8
expect 2 "hue=2: expected a number from 0 to 0.5" pretrain "$work/pictures" -o "$work/none" --hue 2

# Interrupted twice; the same command line continues the run, with the pictures in another place.
stop INT "$work/interrupted/log.jsonl" "$work/pictures" -o "$work/interrupted" $small --threads 1
status=$?
[ $status -eq 130 ] || fail "SIGINT: status $status"
done=$(wc -l <"$work/interrupted/log.jsonl")
[ -s "$work/interrupted/$(printf 'checkpoint-%08d.safetensors.gz' "$done")" ] || fail "SIGINT: no checkpoint of step $done"
mv "$work/pictures" "$work/moved"
expect 0 "" pretrain "$work/moved" -o "$work/interrupted" $small --resume --threads 2
same "$work/whole" "$work/interrupted"

# Updates left out: with so low a bound many are. A run that is killed and resumed leaves out the same ones.
expect 0 "its update is left out" pretrain "$work/moved" -o "$work/skips" $small --skip-spikes=0.5 --threads 2
[ "$(grep -c '"skipped":true' "$work/skips/log.jsonl")" -ge 3 ] || fail "nothing was skipped"
[ "$(grep -vc '"skipped":true' "$work/skips/log.jsonl")" -eq $steps ] || fail "skipped steps count as steps"
stop KILL "$work/skips-killed/checkpoint-00000060.safetensors.gz" "$work/moved" -o "$work/skips-killed" $small --skip-spikes=0.5 \
    --save-every 10 --save-in-background
expect 1 "--skip-spikes is 0.5 in the checkpoint" pretrain "$work/moved" -o "$work/skips-killed" --skip-spikes=0
expect 0 "" pretrain "$work/moved" -o "$work/skips-killed" --threads 1
same "$work/skips" "$work/skips-killed"

# A batch of broken files makes no step, so that batches and steps count differently.
expect 0 "" pretrain "$work/moved" -o "$work/ones" $small --batch-size 1 --threads 1
stop TERM "$work/ones-stopped/checkpoint-00000010.safetensors.gz" "$work/moved" -o "$work/ones-stopped" $small --batch-size 1 \
    --save-every 10
status=$?
[ $status -eq 143 ] || fail "SIGTERM: status $status"
expect 0 "" pretrain "$work/moved" -o "$work/ones-stopped" --resume --workers 1 --save-every 7 --save-in-background
same "$work/ones" "$work/ones-stopped"

# An existing run is not replaced or resumed without an option; different settings are refused by name.
run=$work/ones-stopped
expect 1 "--batch-size is 1 in the checkpoint, not 4" pretrain "$work/moved" -o "$run" $small
expect 2 "--resume goes on with a run, --overwrite replaces it" pretrain "$work/moved" -o "$run" --resume --overwrite
expect 1 "$work/none: no checkpoint to resume from" pretrain "$work/moved" -o "$work/none" --resume
[ -e "$work/none" ] && fail "a refused resume made a folder"
expect 1 "--learning-rate is 0.004 in the checkpoint, not 0.003" pretrain "$work/moved" -o "$run" --resume --learning-rate 0.003
expect 1 "--steps is 100 in the checkpoint, not 104; leave it out, or change it by --override steps" pretrain "$work/moved" -o "$run" --resume --steps 104 --override seed
expect 1 "begun with no preset" pretrain "$work/moved" -o "$run" --resume --preset tiny
expect 2 "--override speed: there is no such setting" pretrain "$work/moved" -o "$run" --resume --override epochs,speed
expect 0 "nothing to do" pretrain "$work/moved" -o "$run" --resume
# A kill between a checkpoint and its weights: the weights of an older step, or none, are replaced.
cp "$run/weights.safetensors" "$work/newest"
sed 's/"step":"100"/"step":"099"/' "$work/newest" >"$run/weights.safetensors"
expect 0 "nothing to do" pretrain "$work/moved" -o "$run" --resume
cmp "$work/newest" "$run/weights.safetensors" || fail "weights of another step than the checkpoint's stay"
rm "$run/weights.safetensors"
expect 0 "nothing to do" pretrain "$work/moved" -o "$run" --resume
cmp "$work/newest" "$run/weights.safetensors" || fail "missing weights stay missing"
expect 0 "(--overwrite begins anew)" pretrain "$work/moved" -o "$run"
"$pictures" "$work/moved" 14
expect 1 "by --override folder" pretrain "$work/moved" -o "$run" --resume
cmp -s "$work/ones/$last" "$run/$last" || fail "a refusal changed the checkpoint"

# With --override the run continues; the log and the checkpoints continue their numbers.
expect 0 "" pretrain "$work/moved" -o "$run" --resume --steps 104 --override folder,total-steps,learning-rate=0.003 --keep 1
[ "$(wc -l <"$run/log.jsonl")" -eq 104 ] || fail "the log does not go on"
[ "$(ls "$run" | grep ^checkpoint-)" = checkpoint-00000104.safetensors.gz ] || fail "--keep 1: $(ls "$run")"
grep -q '"total_steps": 104' "$run/config.json" || fail "config.json has not the new length"

# A damaged checkpoint is refused and changes nothing, unless there is one before it; --overwrite removes the old run's.
cp "$run/log.jsonl" "$work/log"
mv "$run/checkpoint-00000104.safetensors.gz" "$work/whole.gz"
head -c 3000 "$work/whole.gz" >"$run/checkpoint-00000104.safetensors.gz"
expect 1 "$run/checkpoint-00000104.safetensors.gz" pretrain "$work/moved" -o "$run" --resume
cmp -s "$work/log" "$run/log.jsonl" || fail "a damaged checkpoint cost the log"
mv "$work/whole.gz" "$run/checkpoint-00000104.safetensors.gz"
head -c 3000 "$run/checkpoint-00000104.safetensors.gz" >"$run/checkpoint-00000105.safetensors.gz"
expect 0 "$run/checkpoint-00000105.safetensors.gz: " pretrain "$work/moved" -o "$run" --steps 106 --override total_steps
grep -q 'going back to the checkpoint before it' "$work/output" || fail "no word of going back"
[ -e "$run/checkpoint-00000105.safetensors.gz.damaged" ] || fail "the damaged checkpoint is in the way"
[ "$(wc -l <"$run/log.jsonl")" -eq 106 ] || fail "the log does not go on after a damaged checkpoint"
expect 0 "" pretrain "$work/moved" -o "$run" $small --steps 2 --overwrite
[ "$(ls "$run" | grep ^checkpoint-)" = checkpoint-00000002.safetensors.gz ] || fail "--overwrite left: $(ls "$run")"

# A length as a time: the number of steps that it gave repeats the run, and a continued run keeps it.
timed=${small%--steps*}
expect 0 "were timed), so the run has" pretrain "$work/moved" -o "$work/timed" $timed --time 2s --threads 1 --stop-after 1
total=$(sed -n '/"time"/,/}/s/.*"steps": \([0-9]*\).*/\1/p' "$work/timed/config.json")
[ "$total" -ge 1 ] || fail "no plan in config.json"
grep -q "\"total_steps\": $total," "$work/timed/config.json" || fail "the settings have another length than the plan"
expect 1 "--time is 2s in the checkpoint, not 1m" pretrain "$work/moved" -o "$work/timed" --time 1m
expect 1 "--time is not given in the checkpoint, not 1m" pretrain "$work/moved" -o "$run" --time 1m
expect 0 "$total steps of" pretrain "$work/moved" -o "$work/timed" --time 2s --threads 2 --keep 3
expect 0 "" pretrain "$work/moved" -o "$work/counted" $timed --steps "$total" --threads 1
cmp "$work/timed/weights.safetensors" "$work/counted/weights.safetensors" || fail "the same number of steps gave other weights"
grep -q '"time": null' "$work/counted/config.json" || fail "a run without --time has a plan of time"
expect 2 "give one of them" pretrain "$work/moved" -o "$work/both" --time 1h --steps 5
expect 2 "expected a time" pretrain "$work/moved" -o "$work/both" --time soon

[ $failures -eq 0 ] && echo "all as expected"
exit $failures
