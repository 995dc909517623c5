#!/bin/sh
# Every public name is described: api_reference.sh DOXYGEN DOXYFILE SOURCE-FOLDER
# doxygen's warnings are errors, and each function has its own description; a function without one must be found.
set -u
doxygen=$1 doxyfile=$2 source=$3
work=$(mktemp -d "${TMPDIR:-/tmp}/api-reference-XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT

# check INCLUDE-FOLDER: makes the reference of these headers.
check() {
    { cat "$doxyfile"; printf 'OUTPUT_DIRECTORY = %s\nINPUT = %s %s/docs/reference.dox\n' "$work" "$1" "$source"; } |
        "$doxygen" - 2>&1
}

mkdir "$work/include"
sed '/^CRIBO_API const char \*cribo_version/{p;s/.*/\nCRIBO_API int cribo_undescribed(void);/;}' "$source/include/cribo/base.h" \
    > "$work/include/base.h"
check "$work/include" | grep -q 'cribo_undescribed.*not documented' || { echo 'not found: a function without description'; exit 1; }
rm -rf "$work/html"

check "$source/include/cribo" > "$work/warnings" || { cat "$work/warnings"; exit 1; }
failed=0
while read -r name; do
    cat "$work"/html/*_8h.html | grep -q "<span class=\"permalink\">.*$name()" || { echo "$name has no description"; failed=1; }
done < "$source/tests/abi/exports.txt"
exit $failed
