# Common parts of program.sh, faults.sh and ../soak/ranks.sh, which read this file: runs of the program in $work, pictures for them, and comparisons.
flavour=$1 cribo=$2 pictures=$3
LD_LIBRARY_PATH=$4${LD_LIBRARY_PATH+:$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH
here=$(dirname "$0")
command -v "mpirun.$flavour" >/dev/null || { echo "there is no mpirun.$flavour"; exit 77; }
work=$(mktemp -d "${TMPDIR:-/tmp}/program-XXXXXX") || exit 2
trap 'rm -rf "$work"' EXIT

fail() {
    echo "FAILED: $*"
    cat "$work/output"
    exit 1
}

# pretrain RANKS STATUS RUN ARGUMENTS...: 0 ranks is one process without a launcher.
pretrain() {
    ranks=$1 expected=$2 run=$3
    shift 3
    if [ "$ranks" = 0 ]; then
        "$cribo" pretrain "$images" -o "$work/$run" "$@" >"$work/output" 2>&1
    else
        sh "$here/run.sh" "$flavour" "$ranks" exit "$cribo" pretrain "$images" -o "$work/$run" "$@" >"$work/output" 2>&1
    fi
    status=$?
    [ $status = "$expected" ] || fail "$run on $ranks ranks: status $status, not $expected ($*)"
}

# says TEXT COUNT: the last run's output has the text in so many lines.
says() { [ "$(grep -cF -- "$1" "$work/output")" = "$2" ] || fail "not $2 times: $1"; }

# same WHOLE RUN [STEP]: the same weights, checkpoint, pictures of objects, and the same log but for times.
same() {
    for file in weights.safetensors "$(printf 'checkpoint-%08d.safetensors.gz' "${3-20}")" clusters-start.png clusters.png; do
        cmp "$work/$1/$file" "$work/$2/$file" || fail "$2: another $file"
    done
    for run in "$1" "$2"; do sed 's/"\(teach_ms\|wait_ms\)".*//' "$work/$run/log.jsonl" >"$work/$run/steps"; done
    cmp "$work/$1/steps" "$work/$2/steps" || fail "$2: another log"
}

# begin RANKS RUN ARGUMENTS...: starts a run, $launched, and waits for its log.
begin() {
    ranks=$1 run=$2
    shift 2
    sh "$here/run.sh" "$flavour" "$ranks" exit "$cribo" pretrain "$images" -o "$work/$run" "$@" >"$work/output" 2>&1 &
    launched=$!
    tries=0
    while [ ! -s "$work/$run/log.jsonl" ]; do
        tries=$((tries + 1))
        [ $tries -lt 600 ] || fail "$run does not begin"
        sleep 0.1
    done
}

# pid_of RUN RANK: the process of a rank.
pid_of() {
    for pid in $(pgrep -x cribo); do
        { tr '\0' '\n' <"/proc/$pid/cmdline"; } 2>/dev/null | grep -qx "$work/$1" || continue
        { tr '\0' '\n' <"/proc/$pid/environ"; } 2>/dev/null | grep -qx "\(OMPI_COMM_WORLD_RANK\|PMI_RANK\)=$2" && echo "$pid" && return
    done
}

# ended RUN: waits for the launcher, at most the deadline and a minute for a loaded machine; no rank may be left.
ended() {
    tries=0
    while kill -0 "$launched" 2>/dev/null; do
        tries=$((tries + 1))
        [ $tries -lt $((10 * (deadline + 60))) ] || { kill -KILL "$launched"; fail "$1 does not end"; }
        sleep 0.1
    done
    wait "$launched"
    status=$?
    sleep 0.2
    for rank in 0 1 2 3; do
        [ -z "$(pid_of "$1" $rank)" ] || { kill -KILL "$(pid_of "$1" $rank)"; fail "$1: rank $rank is left"; }
    done
}

images=$work/pictures
mkdir "$images"
"$pictures" "$images" 24 >"$work/output" || fail "no pictures"
echo nonsense >"$images/005-broken.jpg"
echo nonsense >"$images/broken.jpg"
size="--image-size 32 --patch-size 8 --width 48 --heads 2 --depth 2 --head-hidden 64 --head-bottleneck 32 --prototypes 64
    --object-prototypes 64 --clusters 4 --bank-images 20 --batch-size 8 --learning-rate 0.004"
