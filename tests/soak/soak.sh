#!/bin/sh
# soak.sh CRIBO IMAGES SECONDS [FOLDER]: trains on the pictures in IMAGES for SECONDS twice, side by side. One run is left alone, the
# other, which saves in the background, is killed (SIGKILL) about twelve times at moments drawn at random, and started again each time. At
# the end both are brought to the same step, and must have the same weights, the same checkpoint and, but for times, the same log.
# CRIBO is the program; IMAGES may also be the program that makes pictures for tests. FOLDER takes the two runs and stays; without one
# they are temporary.
cribo=$1 images=$2 seconds=$3
if [ "${4-}" ]; then
    work=$4
    mkdir -p "$work" || exit 1
else
    work=$(mktemp -d) || exit 1
    trap 'rm -rf "$work"' EXIT
fi
if [ ! -d "$images" ]; then
    mkdir "$work/pictures" && "$images" "$work/pictures" 40 || exit 1
    images=$work/pictures
fi
size="--image-size 64 --width 96 --heads 3 --depth 4 --batch-size 8" save_every=50
[ "$seconds" -ge 600 ] || size="--image-size 32 --width 48 --heads 2 --depth 2 --batch-size 4" save_every=3
settings="$size --patch-size 8 --head-hidden 128 --head-bottleneck 64 --prototypes 512 --object-prototypes 512 --clusters 8
    --bank-images 200 --learning-rate 0.004 --steps 1000000 --warmup-steps 100 --teacher-temperature-steps 200 --cross-image-steps 20
    --freeze-last-layer-steps 20 --threads 1 --workers 1 --quiet"

fail() {
    echo "FAILED: $*"
    exit 1
}

# pretrain RUN ARGUMENTS...
pretrain() {
    run=$1
    shift
    exec "$cribo" pretrain "$images" -o "$work/$run" $settings --save-every $save_every "$@" 2>>"$work/$run.messages"
}

steps() { grep -c . "$work/$1/log.jsonl"; }

# ended RUN PROCESS: waits for the end of a run that got a signal.
ended() {
    wait "$2"
    status=$?
    [ $status = 143 ] || fail "$1 ended with status $status: $(tail -n 3 "$work/$1.messages")"
}

deadline=$(($(date +%s) + seconds))
(pretrain whole) &
whole=$!
kills=0 disturbed=
while left=$((deadline - $(date +%s))); [ $left -gt 0 ]; do
    (pretrain disturbed --save-in-background) &
    disturbed=$!
    # A second, and up to a sixth of the time: some kills come before the first save, some in the middle of one.
    pause=$(awk -v seed=$((kills * 7919 + 17)) -v seconds="$seconds" \
        'BEGIN { srand(seed); rand(); printf "%.2f", 1 + seconds * rand() * 0.16 }')
    [ "${pause%.*}" -lt $left ] || { sleep $left; break; }
    sleep "$pause"
    kill -0 $disturbed 2>/dev/null || fail "the disturbed run ended by itself: $(tail -n 3 "$work/disturbed.messages")"
    kill -KILL $disturbed
    wait $disturbed
    disturbed=
    kills=$((kills + 1))
    [ -f "$work/disturbed/log.jsonl" ] && echo "kill $kills after $pause s, at step $(steps disturbed)"
done
kill -TERM $whole $disturbed
ended whole $whole
[ -z "$disturbed" ] || ended disturbed $disturbed
[ $kills -ge 3 ] || fail "only $kills kills"

last=$(steps whole)
[ "$(steps disturbed)" -le "$last" ] || last=$(steps disturbed)
(pretrain whole --stop-after "$last") || fail "the undisturbed run did not reach step $last"
(pretrain disturbed --stop-after "$last") || fail "the disturbed run did not reach step $last"
checkpoint=$(printf 'checkpoint-%08d.safetensors.gz' "$last")
for file in weights.safetensors "$checkpoint"; do
    cmp "$work/whole/$file" "$work/disturbed/$file" || fail "$file differs"
done
# Everything up to the first time; skipped and repeated steps would show as lines.
for run in whole disturbed; do
    sed 's/,"\(teach_ms\|wait_ms\)".*//' "$work/$run/log.jsonl" >"$work/$run.steps"
    [ "$(grep -c . "$work/$run.steps")" -eq "$last" ] || fail "$run: the log has not $last lines"
done
cmp "$work/whole.steps" "$work/disturbed.steps" || fail "the logs differ"
echo "$kills kills in $last steps: the same weights, checkpoint and log"
