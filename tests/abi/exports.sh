#!/bin/sh
# The global names of the library, shared or static, the declarations of its headers and the checked-in list are the same: exports.sh LIBRARY INCLUDE-FOLDER
# A deliberate change of the interface is written down with: tests/abi/declared.sh include > tests/abi/exports.txt
here=$(dirname "$0")
work=$(mktemp -d "${TMPDIR:-.}/exports-XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
case $1 in *.a) names=-g ;; *) names=-D ;; esac
nm $names --defined-only "$1" | sed -n 's/^[0-9a-f]* [TDBRVWu] //p' | sed 's/@.*//' | LC_ALL=C sort > "$work/exported"
sh "$here/declared.sh" "$2" > "$work/declared"
failed=0
diff "$here/exports.txt" "$work/declared" || { echo 'the headers (>) differ from tests/abi/exports.txt (<)'; failed=1; }
diff "$here/exports.txt" "$work/exported" || { echo 'the library (>) differs from tests/abi/exports.txt (<)'; failed=1; }
[ -s "$work/exported" ] || failed=1
exit $failed
