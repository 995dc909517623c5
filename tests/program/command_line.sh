#!/bin/sh
# command_line.sh CRIBO PICTURES: what the program answers to good and bad command lines, and one short training from folder to
# weights. CRIBO is the program, PICTURES the one that makes pictures.
. "$(dirname "$0")/expect.sh"

mkdir "$work/empty" "$work/pictures" "$work/broken" "$work/used"
"$pictures" "$work/pictures" 12 || fail "no pictures"
echo nonsense >"$work/broken/a.jpg"
: >"$work/broken/b.png"
: >"$work/file"
echo '{"step":0}' >"$work/used/log.jsonl"
small="--image-size 32 --patch-size 8 --width 48 --heads 2 --depth 2 --head-hidden 64 --head-bottleneck 32 --prototypes 64
    --object-prototypes 64 --clusters 4 --bank-images 20 --batch-size 4 --learning-rate 0.004 --threads 2 --workers 2"

# Help and versions go to standard output and succeed.
expect 0 "pretrain" --help
expect 0 "cribo 0." --version
expect 0 "--learning-rate" pretrain --help
expect 0 "--stamps" scenes --help

# Wrong use: status 2, and the message names the argument.
expect 2 "Usage: cribo COMMAND"
expect 2 "unknown command 'train'" train
expect 2 "no folder of pictures" pretrain -o "$work/run"
expect 2 "no output folder" pretrain "$work/pictures"
expect 1 "more: No such file or directory" pretrain "$work/pictures" more -o "$work/run"
expect 2 "unrecognized option '--no-such-thing'" pretrain "$work/pictures" -o "$work/run" --no-such-thing
expect 2 '--learning-rate = "fast" is not a number' pretrain "$work/pictures" -o "$work/run" --learning-rate fast
expect 2 "clusters" pretrain "$work/pictures" -o "$work/run" --clusters=-3
expect 2 "--preset=no-such-preset: no such preset; there are vits16-coco" pretrain "$work/pictures" -o "$work/run" --preset no-such-preset
expect 2 "--epochs and --steps both give" pretrain "$work/pictures" -o "$work/run" --epochs 3 --steps 5
expect 2 "--threads=0" pretrain "$work/pictures" -o "$work/run" --threads 0
expect 2 "no output folder" scenes
expect 2 "--size=x" scenes -o "$work/scenes" --size x
expect 2 "--split=half" scenes -o "$work/scenes" --split half
[ -e "$work/run" ] && fail "a wrong command line made a folder"

# Failures: status 1, and the message names the file.
expect 1 "$work/missing: No such file or directory" pretrain "$work/missing" -o "$work/run"
expect 1 "$work/file: an empty file, neither a JPEG" pretrain "$work/file" -o "$work/run"
expect 1 "$work/empty: no JPEG" pretrain "$work/empty" -o "$work/run"
expect 1 "$work/file/run" pretrain "$work/pictures" -o "$work/file/run"
expect 1 "cannot make the folder /proc/run" pretrain "$work/pictures" -o /proc/run
expect 1 "clusters" pretrain "$work/pictures" -o "$work/run0" $small --clusters 40
expect 1 "$work/used: holds a run already" pretrain "$work/pictures" -o "$work/used"
expect 1 "none of the 2 pictures could be read" pretrain "$work/broken" -o "$work/run1" $small
expect 1 "$work/missing: No such file or directory" scenes -o "$work/scenes" --stamps "$work/missing"
expect 1 "$work/empty: no stamps" scenes -o "$work/scenes" --stamps "$work/empty"
if [ "$(id -u)" -ne 0 ]; then
    mkdir "$work/closed"
    chmod 0 "$work/closed"
    expect 1 "$work/closed: Permission denied" pretrain "$work/closed" -o "$work/run2"
    expect 1 "cannot make the folder $work/closed/run" pretrain "$work/pictures" -o "$work/closed/run"
fi

# A whole training, with one broken file among the pictures, said once.
echo nonsense >"$work/pictures/broken.jpg"
expect 0 "broken.jpg: a text, not a JPEG" pretrain "$work/pictures" -o "$work/run3" $small --epochs 3
[ "$(grep -c 'broken.jpg' "$work/output")" -eq 1 ] || fail "the broken file was not reported exactly once"
grep -q "1 of 13 pictures could not be read" "$work/output" || fail "broken files were not counted"
for file in config.json log.jsonl weights.safetensors loss.png clusters-start.png clusters.png clusters-before-after.png; do
    [ -s "$work/run3/$file" ] || fail "no $file"
done
[ "$(wc -l <"$work/run3/log.jsonl")" -eq 9 ] || fail "the log has not one line for each of 9 steps"
grep -vq '^{"batch":[0-9]*,"loss_score":[0-9.elnu-]*,"view_retrieval_percent":[0-9.elnu-]*,"view_retrieval_start_percent":[0-9.e-]*,"step":[0-9]*,.*"loss":[0-9.e-]*,.*"images_per_second":[0-9.e+]*,"time":[0-9.e+]*}$' "$work/run3/log.jsonl" &&
    fail "a line of the log is malformed"

# A network that does not change finds no more patches than before it.
expect 0 "step 25: view retrieval is" pretrain "$work/pictures" -o "$work/idle" $small --steps 30 --learning-rate 0 --learning-rate-final 0
grep -q "view retrieval .*no better than before training" "$work/output" || fail "no word of view retrieval at the end"

# Underscores are hyphens; the same seed gives the same weights with other numbers of threads.
expect 0 "" pretrain "$work/pictures" -o "$work/run4" $small --epochs 3 --threads=1 --workers=1 --learning_rate=0.004 --quiet
cmp -s "$work/run3/weights.safetensors" "$work/run4/weights.safetensors" || fail "other threads gave other weights"
expect 0 "" pretrain "$work/pictures" -o "$work/run4" $small --epochs 3 --seed 1 --overwrite --quiet
cmp -s "$work/run3/weights.safetensors" "$work/run4/weights.safetensors" && fail "another seed gave the same weights"

# The same pictures from a folder, a tar archive and a list are the same training; archives at fault are named.
mkdir "$work/twelve"
"$pictures" "$work/twelve" 12
tar -C "$work/twelve" --sort=name -cf "$work/twelve.tar" . 2>/dev/null || (cd "$work/twelve" && tar -cf "$work/twelve.tar" *.png)
(cd "$work" && ls twelve/*.png >list.txt)
for source in twelve twelve.tar list.txt; do
    expect 0 "" pretrain "$work/$source" -o "$work/run-$source" $small --steps 4 --quiet
    cmp "$work/run-twelve/weights.safetensors" "$work/run-$source/weights.safetensors" || fail "$source: other weights"
done
expect 0 "36 pictures" pretrain "$work/twelve" "$work/twelve.tar" "$work/list.txt" -o "$work/all" $small --steps 2
head -c 5000 "$work/twelve.tar" >"$work/cut.tar"
expect 1 "$work/cut.tar: damaged tar archive: " pretrain "$work/cut.tar" -o "$work/cut" $small
gzip -c "$work/twelve.tar" >"$work/packed.tar"
expect 1 "$work/packed.tar: a compressed archive" pretrain "$work/packed.tar" -o "$work/cut" $small

# A listing reports the files that it leaves out, and runs of the program.
mkdir "$work/mixed"
cp "$work/twelve.tar" "$work/mixed"
gzip -c "$work/twelve.tar" >"$work/mixed/more.tar.gz"
printf GIF89a >"$work/mixed/a.gif"
left='left out: 1 .gif (a GIF picture), 1 .tar.gz (a compressed archive or file (gzip))'
expect 0 "$left" pretrain "$work/mixed" -o "$work/mixed/run" $small --steps 2
expect 0 "$left, 1 folder (it holds a run of cribo)" pretrain "$work/mixed" -o "$work/mixed-run" $small --steps 2
expect 0 "12 pictures" pretrain "$work/mixed" -o "$work/mixed-run" $small --steps 2 --overwrite
expect 1 "more.tar.gz: a compressed archive or file (gzip); unpack it" pretrain "$work/mixed/more.tar.gz" -o "$work/cut" $small
expect 1 "mixed/twelve.tar: no JPEG" pretrain "$work/mixed/twelve.tar" -o "$work/keyed" $small --keys jpg

# Weights to begin with: of a run, with its heads or fresh ones, at another image size; never of another shape.
weights=$work/run3/weights.safetensors
expect 0 "" pretrain "$work/pictures" -o "$work/from" $small --steps 1 --weights "$weights" --warmup-steps 1 --quiet
expect 0 "" pretrain "$work/pictures" -o "$work/from-heads" $small --steps 1 --weights "$weights" --weights-heads --quiet
cmp -s "$work/from/weights.safetensors" "$work/from-heads/weights.safetensors" && fail "--weights-heads changes nothing"
expect 0 "" pretrain "$work/pictures" -o "$work/larger" $small --steps 1 --weights "$weights" --image-size 48 --quiet
expect 1 "teacher.backbone.cls_token\" has 48 numbers in 3 axes, which do not fit" pretrain "$work/pictures" -o "$work/wider" $small --steps 1 --weights "$weights" --width 64 --quiet
expect 1 "$work/none.safetensors" pretrain "$work/pictures" -o "$work/wider" $small --weights "$work/none.safetensors"
expect 0 "" pretrain "$work/pictures" -o "$work/from-folder" $small --steps 1 --weights "$work/run3" --warmup-steps 1 --quiet
cmp -s "$work/from/weights.safetensors" "$work/from-folder/weights.safetensors" || fail "a run's folder is no --weights"
expect 2 "--weights-heads" pretrain "$work/pictures" -o "$work/wider" $small --weights-heads

# A failure to log or draw at the start does not stop the training; a failure to save weights gives a failure status.
mkdir "$work/full" "$work/undrawn" "$work/undrawn/clusters-start.png" "$work/blocked" "$work/blocked/weights.safetensors"
(ulimit -f 64 && "$cribo" pretrain "$work/pictures" -o "$work/full" $small --epochs 40 --keep 1) >"$work/output" 2>&1
status=$?
[ $status -eq 1 ] || fail "a full disk: status $status: $(cat "$work/output")"
grep -q "full/log.jsonl: File too large; training goes on" "$work/output" || fail "no word of the log: $(cat "$work/output")"
for file in checkpoint-00000120.safetensors.gz weights.safetensors; do
    grep -q "$work/full/$file: cannot write: File too large" "$work/output" || fail "no word of $file: $(cat "$work/output")"
done
grep -q "^weights " "$work/output" && fail "weights are named that are not there"
ls "$work/full" | grep -q tmp && fail "half files stay: $(ls "$work/full")"

# Links among a run's files are replaced, never followed; what is no file is refused.
mkdir "$work/links"
for file in log.jsonl config.json weights.safetensors loss.png clusters.png events.out.tfevents.cribo; do
    echo kept >"$work/$file"
    ln -s "$work/$file" "$work/links/$file"
done
expect 0 "" pretrain "$work/pictures" -o "$work/links" $small --steps 2 --overwrite
for file in log.jsonl config.json weights.safetensors loss.png clusters.png events.out.tfevents.cribo; do
    [ "$(cat "$work/$file")" = kept ] || fail "a link was followed: $file"
    [ -f "$work/links/$file" ] && [ ! -L "$work/links/$file" ] || fail "a link was not replaced: $file"
done
rm "$work/links/log.jsonl" && ln -s "$work/log.jsonl" "$work/links/log.jsonl"
expect 1 "links/log.jsonl: it is a symbolic link" pretrain "$work/pictures" -o "$work/links"
mkfifo "$work/pipe" && ln -s "$work/pipe" "$work/piped.png"
expect 1 "piped.png: it is there and is not a regular file" clusters "$work/run3" "$work/pictures" -o "$work/piped.png" -n 2
expect 0 "clusters-start.png" pretrain "$work/pictures" -o "$work/undrawn" $small --steps 2
expect 1 "weights.safetensors" pretrain "$work/pictures" -o "$work/blocked" $small --steps 1 --overwrite
expect 1 "; training goes on" pretrain "$work/pictures" -o "$work/blocked" $small --steps 3 --overwrite --save-every 1 --save-in-background
[ -s "$work/blocked/checkpoint-00000003.safetensors.gz" ] || fail "weights that cannot be saved cost the checkpoint"

# Weights that have diverged are finite and still not saved over good ones.
cp "$work/run3/weights.safetensors" "$work/good"
mkdir "$work/diverged" && cp "$work/good" "$work/diverged/weights.safetensors"
expect 1 "the weights have diverged and are not saved" pretrain "$work/pictures" -o "$work/diverged" $small --overwrite --steps 6 \
    --warmup-steps 1 --learning-rate 1e6 --weight-decay 0 --weight-decay-final 0
cmp -s "$work/good" "$work/diverged/weights.safetensors" || fail "diverged weights replaced good ones"

# The progress line fits any terminal, and a file has no line per step.
if command -v script >/dev/null && command -v stty >/dev/null; then
    for width in 30 60 200; do
        script -qec "stty cols $width; $cribo pretrain $work/pictures -o $work/narrow $(echo $small) --steps 4 --overwrite" /dev/null \
            </dev/null >"$work/terminal" 2>/dev/null
        tr '\r' '\n' <"$work/terminal" | sed 's/.\[K//g' | grep 'step [0-9]*/4,' >"$work/lines"
        [ -s "$work/lines" ] || fail "no progress line at a width of $width: $(cat "$work/terminal")"
        awk -v width=$width 'length($0) >= width { bad = 1 } END { exit bad }' "$work/lines" || fail "too wide for $width: $(cat "$work/lines")"
    done
    grep -q "mean loss .*other view" "$work/lines" || fail "a wide terminal has not the whole line: $(cat "$work/lines")"
fi
expect 0 "" pretrain "$work/pictures" -o "$work/narrow" $small --steps 30 --overwrite
[ "$(grep -c '^step ' "$work/output")" -le 3 ] || fail "a file gets a line per step"

# A run continues to write to its folder after a move; a run with a removed folder reports no results.
for change in mv rm; do
    run=$work/moving
    rm -rf "$run" "$work/elsewhere"
    "$cribo" pretrain "$work/pictures" -o "$run" $small --steps 100000 --save-every 0 >"$work/output" 2>&1 &
    process=$!
    tries=0
    while [ ! -s "$run/log.jsonl" ] && [ $tries -lt 600 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
    case $change in
    mv) mv "$run" "$work/elsewhere" && mkdir "$run" ;;
    rm) rm -rf "$run" ;;
    esac
    kill -INT $process
    wait $process
    status=$?
    case $change in
    mv)
        [ $status -eq 130 ] || fail "moved: status $status: $(cat "$work/output")"
        [ -s "$work/elsewhere/weights.safetensors" ] && [ -s "$work/elsewhere/loss.png" ] || fail "moved: $(ls "$work/elsewhere")"
        [ -z "$(ls "$run")" ] || fail "moved: files in the other folder: $(ls "$run")"
        grep -q "^weights *$work/elsewhere/weights.safetensors" "$work/output" || fail "moved: named otherwise: $(cat "$work/output")"
        ;;
    rm)
        [ $status -eq 1 ] || fail "removed: status $status: $(cat "$work/output")"
        grep -q "^weights " "$work/output" && fail "removed: claims weights: $(cat "$work/output")"
        ;;
    esac
done

# A signal finishes the step and saves. The program respects an ignored SIGHUP, as under nohup, so it starts with the default.
for signal in INT TERM HUP; do
    run="$work/run-$signal"
    env --default-signal=HUP "$cribo" pretrain "$work/pictures" -o "$run" $small --epochs 100000 --log-every 1 \
        >"$work/messages" 2>&1 &
    process=$!
    tries=0
    while [ ! -s "$run/log.jsonl" ] && [ $tries -lt 600 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
    expect 1 "$run: process $process is training in it" pretrain "$work/pictures" -o "$run" $small --overwrite
    kill -$signal $process
    wait $process
    status=$?
    [ $signal$status = INT130 ] || [ $signal$status = TERM143 ] || [ $signal$status = HUP129 ] || fail "SIG$signal: status $status"
    [ -s "$run/weights.safetensors" ] || fail "SIG$signal: no weights"
    tail -n 1 "$run/log.jsonl" | grep -q '}$' || fail "SIG$signal: the log's last line is torn"
done

[ $failures -eq 0 ] && echo "all as expected"
exit $failures
