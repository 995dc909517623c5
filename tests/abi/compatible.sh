#!/bin/sh
# The interface that the headers declare is compatible with the written-down one: compatible.sh INCLUDE-FOLDER CC...
# Exit status 77: abigail-tools are missing, or this is not the machine for which it was written down.
#
# New functions, new statuses and new fields at the end of a struct that tells its size pass; everything else is a break. A
# deliberate change is written down with tests/abi/update (see docs/abi.md).
set -u
here=$(dirname "$0")
command -v abidw >/dev/null && command -v abidiff >/dev/null && [ "$(uname -m)" = x86_64 ] || exit 77
include=$1
shift
work=$(mktemp -d "${TMPDIR:-.}/compatible-XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT

# compare OLD NEW: fails with what abidiff says, unless that is nothing or growth. cribo_crop and cribo_setting do not tell their size.
compare() {
    abidiff --leaf-changes-only --no-added-syms "$1" "$2" > "$work/difference" && return 0
    awk '
        /^$/ || / summary: / { next }
        /^.struct cribo_[a-z_]*. changed:$/ { if (/cribo_crop|cribo_setting/) exit bad = 1; next }
        /^  type size changed from [0-9]+ to [0-9]+ / { end = $5; next }
        /^  [0-9]+ data member insertions?:$/ { next }
        /^    .*, at offset [0-9]+ \(in bits\)$/ && $(NF - 2) + 0 >= end + 0 { grown = 1; next }
        { exit bad = 1 }
        END { exit bad || !grown }' "$work/difference" && return 0
    cat "$work/difference"
    return 1
}

# changed HEADER SED-SCRIPT: describes the interface with one line of a header changed.
changed() {
    rm -rf "$work/include"
    cp -R "$include" "$work/include"
    sed "$2" "$include/cribo/$1" > "$work/include/cribo/$1"
    ! cmp -s "$include/cribo/$1" "$work/include/cribo/$1" || { echo "nothing in $1 to change: $2"; exit 1; }
    sh "$here/describe.sh" "$work/include" "$work/changed.abi" $compiler || exit 1
}
breaks() {
    changed "$@"
    ! compare "$work/now.abi" "$work/changed.abi" > /dev/null || { echo "not seen as a break: $2"; exit 1; }
}
grows() {
    changed "$@"
    compare "$work/now.abi" "$work/changed.abi" || { echo "not allowed to grow: $2"; exit 1; }
}

compiler=$*
sh "$here/describe.sh" "$include" "$work/now.abi" "$@" || exit 1
breaks base.h 's/CRIBO_CORRUPT = 4/CRIBO_CORRUPT = 14/'
breaks base.h 's/^CRIBO_API const char \*cribo_version(void);/const char *cribo_version(void);/'
breaks model.h 's/^    int64_t image_size;/    int32_t image_size;/'
breaks objective.h 's/^} cribo_crop;/    double angle;\n} cribo_crop;/'
breaks objective.h 's/^    double loss;/    double more;\n    double loss;/'
breaks objective.h '/^    double teach_ms;/d'
breaks trainer.h 's/cribo_trainer_update(cribo_trainer \*trainer, /cribo_trainer_update(cribo_trainer *trainer, int how, /'
grows base.h 's/CRIBO_TIMED_OUT = 9 /CRIBO_TIMED_OUT = 9, CRIBO_OTHER = 10 /'
grows base.h 's/^\(CRIBO_API const char \*cribo_\)version\((void);\)/&\n\1age\2/'
grows objective.h 's/^} cribo_report;/    double more;\n} cribo_report;/'

compare "$here/interface.abi" "$work/now.abi"
