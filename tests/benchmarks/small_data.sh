#!/bin/sh
# small_data.sh CRIBO SET OUT [NAME...]: the trials behind the settings of `cribo pretrain` without a preset
# (docs/experiment.md, "Without a preset"). SET/train and SET/test have pictures in images and label maps in labels. Each trial
# trains on the pictures of SET/train without labels, on one thread, and segments those of SET/test by the labelled patches of
# SET/train. Prints for each trial the CPU time, view retrieval before and after, and the mIoU; NAMEs choose some of them.
set -eu
cribo=$1 set=$2 out=$3
shift 3
names=" $* "
mkdir -p "$out"

# Neighbours of the settings without a preset, which have batches of 16 and a rate of 1e-3 for them.
trials='untrained      --steps 1 --learning-rate 0
sinkhorn-32    --steps 400 --batch-size 32 --learning-rate 0.004
default        --steps 600
mean           --steps 600 --sinkhorn-centring 0
global         --steps 600 --cross-view-weight 0 --cross-image-weight 0
small-crops    --steps 600 --crop-area-min 0.1'

classes=
[ ! -f "$set/classes" ] || classes="--classes $(cat "$set/classes")"
echo "$trials" | while read -r name options; do
    case "$names" in "  " | *" $name "*) ;; *) continue ;; esac
    # shellcheck disable=SC2086 # options are words
    (
        "$cribo" pretrain "$set/train/images" -o "$out/$name" --threads 1 --workers 1 --quiet --overwrite $options >/dev/null
        times
    ) >"$out/$name.times"
    seconds=$(sed -n 2p "$out/$name.times" | cut -d' ' -f1)
    sign=$(sed -n 's/.*"view_retrieval_percent":\([0-9.]*\),"view_retrieval_start_percent":\([0-9.]*\).*/\2 -> \1 %/p' \
        "$out/$name/log.jsonl" | tail -n 1)
    # shellcheck disable=SC2086
    score=$("$cribo" evaluate "$out/$name" "$set/train" "$set/test" $classes --threads 1 --floor --quiet | grep mIoU | tr -s ' ' |
        sed 's/ %.*//' | tr '\n' ',')
    echo "$name: $seconds, view retrieval $sign, $score $options"
done
