#!/bin/sh
# evaluate.sh CRIBO PICTURES: the commands that use a trained model or a run, on a small run. CRIBO is the
# program, PICTURES the one that makes pictures.
. "$(dirname "$0")/expect.sh"

small="--image-size 32 --patch-size 8 --width 48 --heads 2 --depth 2 --head-hidden 64 --head-bottleneck 32 --prototypes 64
    --object-prototypes 64 --clusters 4 --bank-images 20 --batch-size 4 --learning-rate 0.004 --threads 2 --workers 2"
set_of() { mkdir -p "$work/$1/images" "$work/$1/labels" && "$pictures" "$work/$1/images" "$2" "$work/$1/labels"; }
is_png() { [ "$(head -c 4 "$1" | tail -c 3)" = PNG ] || fail "$1 is no PNG file"; }
set_of train 12 || fail "no pictures"
set_of test 6
printf 'background\nred\ngreen\nblue\n' >"$work/train/classes.txt"
cp "$work/train/classes.txt" "$work/test"

# Evaluation during pretraining: before it, at the ends of epochs and at its end; it changes nothing in the run.
expect 0 "mIoU" pretrain "$work/train/images" -o "$work/run" $small --epochs 5 --evaluate "$work/train" --evaluate-test "$work/test" \
    --evaluate-epochs 2 --save-every 6
grep -o '"step":[0-9]*' "$work/run/evaluation.jsonl" | tr '\n' ' ' | grep -q '^"step":0 "step":6 "step":12 "step":15 $' ||
    fail "evaluated at other steps: $(cat "$work/run/evaluation.jsonl")"
for step in 06 12 15; do is_png "$work/run/clusters-000000$step.png"; done
expect 0 "" pretrain "$work/train/images" -o "$work/plain" $small --epochs 5
cmp "$work/run/weights.safetensors" "$work/plain/weights.safetensors" || fail "evaluating changed the run"

# A run that continues from a checkpoint of step 12 looks once at step 15, with any earlier results there.
rm "$work/run/checkpoint-00000015.safetensors.gz"
echo '{"step":15,"torn' >>"$work/run/evaluation.jsonl"
expect 0 "" pretrain "$work/train/images" -o "$work/run" --evaluate "$work/train" --evaluate-test "$work/test" --evaluate-epochs 2
[ "$(grep -c '"step"' "$work/run/evaluation.jsonl")" -eq 4 ] || fail "resumed: $(cat "$work/run/evaluation.jsonl")"

# The weights with the best score are kept, with the score; the folder of the run is a model with them, too.
scores="$work/run/evaluation.jsonl"
best=$(sed -n 's/.*"mean_iou":\([0-9.]*\),.*"step":\([0-9]*\).*/\1 \2/p' "$scores" | sort -k 1,1gr -k 2,2n | head -n 1)
[ "$(grep '"best":true' "$scores" | tail -n 1 | sed 's/.*"mean_iou":\([0-9.]*\),.*"step":\([0-9]*\).*/\1 \2/')" = "$best" ] ||
    fail "the best is $best: $(cat "$scores")"
head -c 20000 "$work/run/best.safetensors" | grep -aq "\"caller.mean_iou\":\"${best% *}\"" || fail "best.safetensors has another score"
expect 0 "steps       ${best#* }" info "$work/run/best.safetensors"
expect 0 "" evaluate "$work/run" "$work/train" "$work/test" --best --json "$work/best.json" -q
grep -q "\"mean_iou\": ${best% *}" "$work/best.json" || fail "--best has another score: $(cat "$work/best.json")"
expect 1 "best.safetensors: No such file" evaluate "$work/plain" "$work/train" "$work/test" --best
expect 1 "best applies to the folder of a run" evaluate "$work/run/best.safetensors" "$work/train" "$work/test" --best

# Patience ends the run at the same step, with the same files, whether it is interrupted or not; more patience goes on.
patient="--evaluate $work/train --evaluate-steps 1 --save-every 2"
eager="$small --epochs 20 --warmup-steps 1 --ema-momentum 0.5 --learning-rate 0.05"
expect 0 "the run ends: no evaluation after that of step" pretrain "$work/train/images" -o "$work/ended" $eager $patient \
    --patience 3
ended=$(sed -n 's/.*"step":\([0-9]*\).*"ends_run":true.*/\1/p' "$work/ended/evaluation.jsonl")
[ -e "$work/ended/checkpoint-$(printf %08d "$ended").safetensors.gz" ] || fail "no checkpoint of step $ended: $(ls "$work/ended")"
[ "$(sed -n '$s/.*"ends_run":\(true\).*/\1/p' "$work/ended/evaluation.jsonl")" = true ] || fail "evaluated after the end"
expect 0 "" pretrain "$work/train/images" -o "$work/pieces" $eager $patient --patience 3 --stop-after $((ended - 1))
expect 0 "the run ends" pretrain "$work/train/images" -o "$work/pieces" $patient --patience 3
for file in weights.safetensors best.safetensors; do
    cmp "$work/ended/$file" "$work/pieces/$file" || fail "an interrupted run has another $file"
done
sed 's/seconds":[0-9.e-]*//g' "$work/ended/evaluation.jsonl" >"$work/one"
sed 's/seconds":[0-9.e-]*//g' "$work/pieces/evaluation.jsonl" | cmp - "$work/one" || fail "an interrupted run has other scores"
expect 0 "nothing to do" pretrain "$work/train/images" -o "$work/pieces" $patient --patience 3
expect 0 "" report "$work/ended"
grep -q "Ended after $ended of 60 steps" "$work/ended/report.html" || fail "the page does not say that patience ended the run"
expect 0 "step $((ended + 1)): mIoU" pretrain "$work/train/images" -o "$work/pieces" $patient --patience 20 --stop-after $((ended + 1))

# Weights of a run bring the mean and the deviation of its pixels, from the folder, a file or a checkpoint; options win.
expect 0 "" pretrain "$work/train/images" -o "$work/grey" $small --steps 1 --mean 0.5,0.5,0.5 --deviation 0.25,0.25,0.25
for weights in "$work/grey" "$work/grey/weights.safetensors" "$work/grey/checkpoint-00000001.safetensors.gz"; do
    expect 0 "pixels: mean 0.5, 0.5, 0.5 and deviation 0.25" pretrain "$work/train/images" -o "$work/after" --overwrite $small --steps 1 \
        --weights "$weights"
    grep -q '"mean": "0.5,0.5,0.5"' "$work/after/config.json" || fail "$weights: $(cat "$work/after/config.json")"
done
expect 0 "pixels: mean 0.4, 0.5, 0.6 and deviation 0.25" pretrain "$work/train/images" -o "$work/after" --overwrite $small --steps 1 \
    --weights "$work/grey" --mean 0.4,0.5,0.6
expect 0 "" embed "$work/grey" "$work/test/images" -o "$work/folder.npy" -q
expect 0 "" embed "$work/grey/weights.safetensors" "$work/test/images" -o "$work/file.npy" -q
cmp "$work/folder.npy" "$work/file.npy" || fail "a file of weights normalises pixels otherwise than its run"

# The command finds what the run found at its end; more threads change nothing.
expect 0 "retrieval      mIoU" evaluate "$work/run" "$work/train" "$work/test" --linear --json "$work/scores.json" --threads 1
grep -q '"green": 0\.' "$work/scores.json" || fail "no IoU of a class in $(cat "$work/scores.json")"
iou=$(sed -n 's/.*"retrieval":{"mean_iou":\([0-9.]*\),.*"step":15.*/\1/p' "$work/run/evaluation.jsonl")
[ -n "$iou" ] && grep -q "\"mean_iou\": $iou" "$work/scores.json" || fail "mIoU $iou in the run, now $(grep mean_iou "$work/scores.json")"
grep -v seconds "$work/scores.json" >"$work/one"
expect 0 '"linear_probe"' evaluate "$work/run" "$work/train" "$work/test" --linear --json - --threads 3 -q
grep -v seconds "$work/output" | cmp - "$work/one" || fail "other threads gave other scores"
expect 0 "colour + HOG   mIoU" evaluate "$work/run" "$work/train" "$work/test" --floor --json "$work/floor.json" --fractions 1,1/2
grep -A 2 '"floor"' "$work/floor.json" | grep -q '"mean_iou": 0\.[0-9]' || fail "no floor in $(cat "$work/floor.json")"
expect 0 "48 patches in memory" evaluate "$work/run/checkpoint-00000015.safetensors.gz" "$work/train" --memory-patches 48
expect 0 "over" evaluate "$work/run" "$work/train" --size 64 --neighbours 5 --temperature 0.1

# The other layouts: labels of Pascal VOC, and of ADE20k with 0 for nothing.
mkdir -p "$work/voc/ImageSets/Segmentation" "$work/ade/images" "$work/ade/annotations"
cp -R "$work/test/images" "$work/voc/JPEGImages"
cp -R "$work/test/labels" "$work/voc/SegmentationClass"
for file in "$work/voc/JPEGImages"/*.png; do mv "$file" "${file%.png}.jpg"; done # a picture's name says nothing of its format
printf '000\n001\n002\n' >"$work/voc/ImageSets/Segmentation/train.txt"
printf '003\n004\n' >"$work/voc/ImageSets/Segmentation/val.txt"
expect 0 "class 20" evaluate "$work/run" "$work/voc"
for half in training validation; do
    cp -R "$work/test/images" "$work/ade/images/$half"
    cp -R "$work/test/labels" "$work/ade/annotations/$half"
done
expect 0 "over 3 classes" evaluate "$work/run" "$work/ade"
grep -q "class 149" "$work/output" || fail "ADE20k has not 150 classes"
rm "$work/test/classes.txt" "$work/train/classes.txt"
expect 1 "--classes" evaluate "$work/run" "$work/train" "$work/test"
expect 0 "over 3 classes" evaluate "$work/run" "$work/train" "$work/test" --classes 3 --reduce-zero-label

# The public evaluator's rules, alone and with some of them changed; more threads change nothing, another seed does.
expect 0 "protocol hummingbird: pictures bilinear, labels by floor, 2 passes of crops and jitter, memory by rare classes" evaluate \
    "$work/run" "$work/train" "$work/test" --classes 4 --protocol hummingbird --passes 2 --memory-patches 240 --json "$work/two.json" \
    --record "$work/crops.jsonl" --threads 1
grep -q "240 patches in memory" "$work/output" || fail "12 pictures, 2 passes, 10 patches each: $(cat "$work/output")"
[ "$(wc -l <"$work/crops.jsonl")" -eq 24 ] || fail "not 24 crops were recorded"
for text in '"passes": 2' '"label_pixel": "floor"' '"void": "zero"' '"search": "exact"' '"pictures": 12' '"library"'; do
    grep -q "$text" "$work/two.json" || fail "no condition $text in $(cat "$work/two.json")"
done
grep -v seconds "$work/two.json" >"$work/one"
expect 0 "" evaluate "$work/run" "$work/train" "$work/test" --classes 4 --protocol hummingbird --passes 2 --memory-patches 240 --json - \
    --threads 3 -q
grep -v seconds "$work/output" | grep -v '^cribo' | cmp - "$work/one" || fail "other threads gave another score"
expect 0 "memory uniform, void ignored, mean over the classes that occur" evaluate "$work/run" "$work/train" "$work/test" --classes 4 \
    --protocol hummingbird --memory uniform --void ignore --mean occurring --passes 0 --memory-patches 64 --resize bicubic
expect 2 "--void=half: it is ignore or zero" evaluate "$work/run" "$work/train" --void half
expect 2 "--protocol=best: it is simple, hummingbird" evaluate "$work/run" "$work/train" --protocol best

# Several seeds, fractions and lists in one call.
expect 0 "12 pictures (1 of the most): mIoU" evaluate "$work/run" "$work/train" "$work/test" --classes 4 \
    --protocol hummingbird --fractions 1,1/2,1/4 --seed 1,2 --plot "$work/fractions.svg" --json "$work/runs.json"
grep -q "3 pictures (0.25 of the most): mIoU .* over 2 runs" "$work/output" || fail "no quarter: $(cat "$work/output")"
grep -q "<svg" "$work/fractions.svg" || fail "no plot"
[ "$(grep -c '"deviation"' "$work/runs.json")" -eq 3 ] || fail "not three summaries in $(cat "$work/runs.json")"
printf '000\n002\n005\n' >"$work/some.txt"
printf '001.png\n' >"$work/other.txt"
expect 0 "some.txt, seed 0" evaluate "$work/run" "$work/train" "$work/test" --classes 4 \
    --train-list "$work/some.txt,$work/other.txt" --test-list "$work/other.txt"
grep -q "some.txt, seed 0 .* 48 patches" "$work/output" || fail "no run of a list: $(cat "$work/output")"
expect 1 "no picture 099 in" evaluate "$work/run" "$work/train" "$work/test" --classes 4 --test-list "$(echo 099 >"$work/no.txt"; echo "$work/no.txt")"
expect 2 "--fractions=2" evaluate "$work/run" "$work/train" --fractions 2
expect 2 "--seed=x" evaluate "$work/run" "$work/train" --seed x

# A layer trained on pixels: its schedule is said, and more threads change nothing.
expect 0 "logits interpolated to 100 x 100 label maps; 30 epochs, batches of 16, SGD with momentum 0.9" evaluate "$work/run" "$work/train" \
    "$work/test" --classes 4 --protocol linear --epochs 30 --rate 0.5 --json "$work/one" --threads 1
expect 0 "" evaluate "$work/run" "$work/train" "$work/test" --classes 4 --protocol linear --epochs 30 --rate 0.5 --json - -q --threads 3
echo >>"$work/one"
grep -v '^cribo' "$work/output" | cmp - "$work/one" || fail "other threads trained another layer"
expect 1 "several runs are not trained" evaluate "$work/run" "$work/train" "$work/test" --classes 4 --protocol linear --seed 0,1

# The worst pictures, with the patches that voted.
for protocol in simple hummingbird; do
    expect 0 "" evaluate "$work/run" "$work/train" "$work/test" --classes 4 --protocol $protocol --failures "$work/failures.png" \
        --failure-count 3 -q
    is_png "$work/failures.png"
done
expect 0 "" evaluate "$work/run" "$work/train" "$work/test" --classes 4 --failures "$work/failures.svg" --memory-patches 40 -q
grep -q "<svg" "$work/failures.svg" || fail "no drawing of failures"
expect 1 "cannot write $work/nowhere/failures.png" evaluate "$work/run" "$work/train" "$work/test" --classes 4 --failures \
    "$work/nowhere/failures.png"

# Clusters of tokens, and pictures by their nearest [CLS] tokens.
expect 0 "over 2 seeds; 4 clusters of 96 tokens, matched hungarian" evaluate "$work/run" "$work/train" "$work/test" --classes 4 \
    --protocol clusters --seed 0,1 --json "$work/clusters.json"
grep -q '"deviation"' "$work/clusters.json" || fail "no deviation in $(cat "$work/clusters.json")"
expect 0 "20 clusters of 96 tokens, matched many-to-one" evaluate "$work/run" "$work/train" "$work/test" --classes 4 \
    --protocol clusters --clusters 20 --matching many-to-one
for half in train val; do
    mkdir -p "$work/kinds/$half/a" "$work/kinds/$half/b"
    cp "$work/train/images/000.png" "$work/train/images/003.png" "$work/kinds/$half/a"
    cp "$work/train/images/001.png" "$work/train/images/004.png" "$work/kinds/$half/b"
done
expect 0 "accuracy 100.00 %" evaluate "$work/run" "$work/kinds" --protocol knn --neighbours 1
expect 0 "4 pictures remembered, 4 scored" evaluate "$work/run" "$work/kinds/train" "$work/kinds/val" --protocol knn --json "$work/knn.json"
mkdir -p "$work/alone/train" "$work/alone/val" && cp -R "$work/kinds/train/a" "$work/alone/train" && cp -R "$work/kinds/val/a" "$work/alone/val"
expect 1 "pictures of one class only" evaluate "$work/run" "$work/alone" --protocol knn
expect 1 "it is in no folder of a class" evaluate "$work/run" "$work/kinds/train/a" "$work/kinds/val" --protocol knn

# Labels without a scored class are reported, and it is an error if no other is left; no message names the library's functions.
kinds_of() { mkdir -p "$work/$1/images" "$work/$1/labels" && "$pictures" "$work/$1/images" 4 "$work/$1/labels" "$2"; }
kinds_of mask mask
kinds_of none none
expect 1 "of one class, so every prediction would be right" evaluate "$work/run" "$work/mask" --classes 2
grep -q "mIoU" "$work/output" && fail "masks of 0 and 255 have a score: $(cat "$work/output")"
expect 1 "nothing to remember: none of the 2 label maps" evaluate "$work/run" "$work/none" --classes 4
grep -q "cribo_" "$work/output" && fail "a message names a function of the library: $(cat "$work/output")"
expect 1 "nothing to score: none of the 4 label maps" evaluate "$work/run" "$work/test" "$work/none" --classes 4
expect 0 "2 of the 6 classes occur in no label map" evaluate "$work/run" "$work/test" "$work/train" --classes 6
[ "$(grep -c "in no label map$" "$work/output")" -eq 2 ] || fail "classes without pixels: $(cat "$work/output")"
mkdir -p "$work/first/images" "$work/first/labels"
for part in images labels; do cp "$work/train/$part/000.png" "$work/train/$part/003.png" "$work/first/$part"; done
expect 0 "2 of 4 classes are scored but not in the memory, so they cannot be found: 2, 3" evaluate "$work/run" "$work/first" \
    "$work/train" --classes 4
grep -q "class 2 .* 0.00 %  not in the memory: cannot be found" "$work/output" || fail "no note on class 2: $(cat "$work/output")"
expect 0 "2 of 4 classes are in the memory but not in the scored pictures: 2, 3" evaluate "$work/run" "$work/train" "$work/first" \
    --classes 4

# Wrong use and bad data; messages name the file.
expect 2 "name a model and a data set" evaluate "$work/run"
expect 2 "unexpected argument 'x'" evaluate "$work/run" a b x
expect 2 "--temperature=0" evaluate "$work/run" "$work/train" --temperature 0
expect 2 "--patience needs --evaluate" pretrain "$work/train/images" -o "$work/run9" --patience 2
expect 2 "give one of them" pretrain "$work/train/images" -o "$work/run9" --evaluate "$work/train" --evaluate-epochs 1 --evaluate-steps 1
expect 2 "--evaluate-test needs --evaluate" pretrain "$work/train/images" -o "$work/run9" --evaluate-test "$work/test"
expect 1 "$work/voc/JPEGImages: no data set with labels" evaluate "$work/run" "$work/voc/JPEGImages"
expect 1 "$work/missing" evaluate "$work/missing" "$work/train" --classes 4
expect 1 "patches of 8 pixels do not divide" evaluate "$work/run" "$work/train" --classes 4 --size 33
expect 1 "this is a picture, not a file of weights" evaluate "$work/test/images/000.png" "$work/train" --classes 4
expect 1 "labels/002.png: label 3 at" evaluate "$work/run" "$work/train" "$work/test" --classes 3
bad="$work/test/labels/001.png" # from here on a fault in its place
cp "$bad" "$work/good.png"
expect_bad() { expect 1 "$1" evaluate "$work/run" "$work/train" "$work/test" --classes 4; }
cp "$work/test/images/001.png" "$bad" && expect_bad "labels/001.png: no labels: they are a palette's indices or grey values"
cp "$work/test/labels/002.png" "$bad" && expect_bad "labels/001.png: 66 x 60 pixels, but its picture $work/test/images/001.png has 65 x 60"
echo nonsense >"$bad" && expect_bad "labels/001.png: no PNG file"
head -c 100 "$work/good.png" >"$bad" && expect_bad "labels/001.png: broken PNG"
rm "$bad" && expect_bad "images/001.png: no labels for it: $bad: No such file"
cp "$work/good.png" "$bad"
echo nonsense >"$work/test/images/001.png" && expect_bad "images/001.png: a text, not a JPEG"

# Features: a row for each readable picture.
expect 0 "features of 5 pictures" embed "$work/run" "$work/test/images" -o "$work/cls.npy"
head -c 128 "$work/cls.npy" | grep -aq "'shape': (5, 48)" || fail "cls.npy: $(head -c 128 "$work/cls.npy")"
[ "$(wc -c <"$work/cls.npy")" -eq $((256 + 5 * 48 * 4)) ] || fail "cls.npy has another size"
[ "$(wc -l <"$work/cls.npy.names")" -eq 5 ] || fail "not five names"
grep -q "001.png: a text, not a JPEG.*; left out" "$work/output" || fail "the broken picture was not named"

# A file of weights or a checkpoint is a model as the folder of its run is, without further options.
for model in "$work/run/weights.safetensors" "$work/run/checkpoint-00000015.safetensors.gz"; do
    expect 0 "features of 5 pictures" embed "$model" "$work/test/images" -o "$work/file.npy"
    cmp -s "$work/cls.npy" "$work/file.npy" || fail "$model gives other features than its run"
    expect 0 "trained with" info "$model"
done
expect 0 "layout      cribo" info "$work/run"
expect 2 "name a file of weights" info
expect 1 "this is a picture" info "$work/test/images/000.png"
expect 1 "no_such" embed "$work/run" "$work/test/images" -o "$work/none.npy" --model no_such=1

# Pixels are normalised as in the run, unless options change it; members of archives are chosen by their keys.
expect 0 "" embed "$work/run" "$work/train/images" -o "$work/plain.npy" -q
expect 0 "" embed "$work/run" "$work/train/images" -o "$work/said.npy" -q --mean 0.485,0.456,0.406 --deviation 0.229,0.224,0.225
cmp -s "$work/plain.npy" "$work/said.npy" || fail "ImageNet's mean and deviation are not the default"
expect 0 "" embed "$work/run" "$work/train/images" -o "$work/other.npy" -q --mean 0,0,0 --deviation 1,1,1
cmp -s "$work/plain.npy" "$work/other.npy" && fail "--mean and --deviation change nothing"
expect 1 "mean=0: expected three numbers" embed "$work/run" "$work/train/images" -o "$work/other.npy" --mean 0
mkdir "$work/members"
cp "$work/train/images/000.png" "$work/members/x.png"
cp "$work/train/images/000.png" "$work/members/x.seg.png"
tar -C "$work/members" -cf "$work/members.tar" x.png x.seg.png
expect 0 "features of 1 pictures" embed "$work/run" "$work/members.tar" -o "$work/one.npy"
grep -q "left out: 1 .png (another part of a sample; --keys takes it)" "$work/output" || fail "x.seg.png was left out without a word"
expect 0 "features of 2 pictures" embed "$work/run" "$work/members.tar" -o "$work/two.npy" --keys png,seg.png
# A name may hold a new line; a line of JSON does not.
mkdir "$work/odd"
"$pictures" "$work/odd" 2
mv "$work/odd/000.png" "$work/odd/a
b\"c.png"
expect 0 "features of 2 pictures" embed "$work/run" "$work/odd" -o "$work/odd.npy"
[ "$(head -n 1 "$work/odd.npy.names")" = "\"$work/odd/001.png\"" ] || fail "not the name of 001.png: $(cat "$work/odd.npy.names")"
[ "$(tail -n 1 "$work/odd.npy.names")" = "\"$work/odd/a\\nb\\\"c.png\"" ] || fail "not the odd name: $(cat "$work/odd.npy.names")"
expect 0 "" embed "$work/run" "$work/test/images" --dense -o "$work/dense.safetensors" -q
head -c 256 "$work/dense.safetensors" | grep -aq '"shape":\[5, 16, 48\]' || fail "dense.safetensors: another shape"
expect 1 "must end in .npy or .safetensors" embed "$work/run" "$work/test/images" -o "$work/cls.txt"
expect 1 "none of its pictures could be read" embed "$work/run" "$work/test/images/001.png" -o "$work/none.npy"
[ -e "$work/none.npy" ] || [ -e "$work/none.npy.part" ] && fail "an unfinished file stays"
rm "$work/test/images/001.png"

# Pictures.
expect 0 "" pretrain "$work/train/images" -o "$work/finer" $small --patch-size 4 --steps 1 -q
for command in attention clusters neighbours; do
    expect 0 "" $command "$work/run" "$work/test/images" -o "$work/$command.png" -n 2
    is_png "$work/$command.png"
    expect 2 "no file for the result" $command "$work/run" "$work/test/images"
    expect 1 "cannot write $work/nowhere/$command.png" $command "$work/run" "$work/test/images" -o "$work/nowhere/$command.png"
done
for command in attention clusters neighbours; do
    expect 2 "the name of a picture must end in .png or .svg" $command "$work/run" "$work/test/images" -o "$work/$command.jpg"
    expect 0 "" $command "$work/run" "$work/test/images" -o "$work/$command.svg" -n 2
    head -n 1 "$work/$command.svg" | grep -q '<?xml' || fail "$command.svg is no SVG file"
    "$cribo" $command "$work/run" "$work/test/images" -o - -n 2 >"$work/out.png" 2>"$work/output" || fail "$command -o -: $(cat "$work/output")"
    is_png "$work/out.png"
done
[ -e ./- ] && fail "-o - made a file of that name"

# The same pictures by two models: wider or higher drawings, which name both; another model changes them.
width_of() { od -An -tu1 -j16 -N8 "$1" | awk '{ print ($3 * 256 + $4) "x" ($7 * 256 + $8) }'; }
for command in attention clusters neighbours; do
    expect 0 "" $command "$work/run" "$work/test/images" -o "$work/both.png" -n 2 --before "$work/ended/weights.safetensors"
    is_png "$work/both.png"
    [ "$(width_of "$work/both.png")" = "$(width_of "$work/$command.png")" ] && fail "$command --before: no larger drawing"
    expect 0 "" $command "$work/run" "$work/test/images" -o "$work/other.png" -n 2 --before "$work/run"
    cmp -s "$work/both.png" "$work/other.png" && fail "$command --before: another model gives the same drawing"
    expect 0 "" $command "$work/run" "$work/test/images" -o "$work/both.svg" -n 2 --before "$work/ended/weights.safetensors" --student
    expect 1 "$work/nowhere: No such file" $command "$work/run" "$work/test/images" -o "$work/x.png" --before "$work/nowhere"
    expect 1 "its patches have 4 pixels, those of $work/run have 8" $command "$work/run" "$work/test/images" -o "$work/x.png" \
        --before "$work/finer"
done
expect 0 "ended/weights.safetensors: " neighbours "$work/run" "$work/test/images" -o "$work/both.png" -n 2 --before "$work/ended/weights.safetensors"
expect 0 "" clusters "$work/run" "$work/test/images" -o "$work/best.png" -n 2 --best --before "$work/run"
expect 2 "name a file, whose ending tells the format" embed "$work/run" "$work/test/images" -o -
[ "$(grep -c 'pictures seen' "$work/output")" -eq 0 ] || fail "a progress line for each picture in a file"
expect 1 "$work/nowhere: No such file or directory; a MODEL is" clusters "$work/nowhere" "$work/test/images" -o "$work/x.png"
expect 1 "$work/test: not the folder of a run: it has no config.json" clusters "$work/test" "$work/test/images" -o "$work/x.png"
ls "$work" | grep -q '[.]tmp$' && fail "half files stay: $(ls "$work")"

# A signal leaves no half file, and the same command works again.
"$cribo" embed "$work/run" "$work/test/images" -o "$work/stopped.npy" -q &
process=$!
kill -INT $process 2>/dev/null || kill -TERM $process
wait $process
ls "$work" | grep -q 'stopped.*tmp' && fail "a signal leaves half a file: $(ls "$work")"
expect 0 "" embed "$work/run" "$work/test/images" -o "$work/stopped.npy" -q
expect 1 "two pictures with objects are needed" neighbours "$work/run" "$work/test/images/000.png" -o "$work/one.png"

# The page of a run, whole and torn; it asks the network for nothing.
echo '{"step":15,"loss":' >>"$work/run/log.jsonl"
expect 0 "report.html" report "$work/run"
for text in "<b>15</b>steps" "alt='View retrieval'" "mIoU by dense retrieval" "After 12 steps" "Where a step's time goes" "data:image/png;base64,iVBOR" "</html>"; do
    grep -qF -e "$text" "$work/run/report.html" || fail "no '$text' on the page"
done
sed "s/base64,[^']*//g" "$work/run/report.html" >"$work/page"
grep -q 'http' "$work/page" && fail "the page refers to the network"
grep -q '[>,. -]nan' "$work/page" && fail "a number on the page is none"
expect 1 "$work/train/log.jsonl: No such file" report "$work/train"
mkdir "$work/nonsense" && echo nonsense >"$work/nonsense/log.jsonl"
expect 1 "log.jsonl: not the log of a run" report "$work/nonsense"
[ "$(grep -c 'Before and after' "$work/run/report.html")" -eq 1 ] || fail "no picture of before and after on the page"
rm "$work/run/clusters-before-after.png"
expect 0 "" report "$work/run"
grep -q 'Before training' "$work/run/report.html" || fail "no picture of the start on the page of an older run"
expect 0 "" pretrain "$work/train/images" -o "$work/adapted" $small --steps 2 --weights "$work/run" --stop-after 1 -q
expect 0 "" pretrain "$work/train/images" -o "$work/adapted" -q
is_png "$work/adapted/clusters-before-after.png"
expect 0 "" report "$work/adapted"
grep -q ", weights $work/run<" "$work/adapted/report.html" || fail "the page does not name the weights of a continued run"
for text in "of training" "class='verdict " "Finished: 15 steps" "processors"; do
    grep -qF -e "$text" "$work/run/report.html" || fail "no '$text' on the page"
done
expect 2 "no run" report

[ $failures -eq 0 ] && echo "all as expected"
exit $failures
