#!/bin/sh
# Writes the binary interface of the public headers in the form of abidw: describe.sh INCLUDE-FOLDER OUTPUT CC...
#
# Every function gets an empty body, so that the compiler writes debug information of the interface and of nothing else. That the
# library exports just these functions is seen by exports.sh; that it defines them as declared, by the compiler.
include=$1 output=$2
shift 2
work=$(mktemp -d "${TMPDIR:-.}/describe-XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
set -e
{
    echo '#include "cribo/cribo.h"'
    cat "$include"/cribo/*.h | grep -v '^#' | tr '\n' ' ' | sed 's,/\*\([^*]\|\*[^/]\)*\*/, ,g' | grep -o 'CRIBO_API [^;]*;' |
        sed -e '/^CRIBO_API void cribo_/s/;$/ {}/' -e 's/;$/ { return 0; }/'
} > "$work/interface.c"
"$@" -std=c11 -w -g -O0 -fPIC -shared -I"$include" "$work/interface.c" -o "$work/libinterface.so"
abidw --headers-dir "$include" --drop-private-types --no-show-locs --no-corpus-path --no-comp-dir-path --no-architecture \
    --out-file "$work/interface.abi" "$work/libinterface.so"
# The toolchain's names are no part of the interface.
sed -e '/<elf-needed>/,/<\/elf-needed>/d' -e "s/ path='[^']*'//; s/ comp-dir-path='[^']*'//" "$work/interface.abi" > "$output"
