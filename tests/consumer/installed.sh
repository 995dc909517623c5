#!/bin/sh
# Installs into a temporary prefix and builds the consumers with what pkg-config says, shared and static:
# installed.sh KIND BUILD-FOLDER SOURCE-FOLDER MESON CC [CXX]
# KIND is the build's default_library: shared, static or both.
kind=$1 build=$2 source=$3 meson=$4 cc=$5 cxx=$6
here=$source/tests/consumer
work=$(mktemp -d "$build/tests/installed-XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
set -e
$meson install -C "$build" --no-rebuild --destdir "$work" > "$work/log" 2>&1 || { cat "$work/log"; exit 1; }
pc=$(find "$work" -name cribo.pc)
lib=$(dirname "$(dirname "$pc")")
declared=$(sed -n 's/^prefix=//p' "$pc")
ask() { PKG_CONFIG_PATH=${pc%/*} pkg-config --define-variable=prefix="$work$declared" "$@" cribo; }

# compile NAME COMPILER SOURCE STANDARD FLAG...: builds a consumer with these flags of pkg-config and runs it.
compile() {
    name=$1 compiler=$2 file=$3 standard=$4
    shift 4
    $compiler -std="$standard" -Wall -Wextra -Wpedantic -Werror "$file" -o "$work/$name" $(ask --cflags) "$@" -lm
    LD_LIBRARY_PATH=$lib "$work/$name" | grep -qx ok
    echo "$name: ok"
}

[ -f "$work$declared/include/cribo/cribo.h" ]
# The installed program finds the library in its own prefix.
if [ "$kind" != static ] && [ -f "$work$declared/bin/cribo" ]; then
    readelf -d "$work$declared/bin/cribo" | grep -q "R.*PATH.*\[$declared/"
    LD_LIBRARY_PATH=$lib "$work$declared/bin/cribo" --version | grep -q '^cribo '
    echo "program: ok"
fi
if [ "$kind" != static ]; then
    compile shared-c "$cc" "$here/consumer.c" c11 $(ask --libs)
    [ -z "$cxx" ] || compile shared-cpp "$cxx" "$here/consumer.cpp" c++17 $(ask --libs)
    readelf -d "$work/shared-c" | grep -q 'NEEDED.*libcribo\.so\.0\]'
fi
if [ "$kind" != shared ]; then
    rm -f "$lib"/libcribo.so*
    compile static-c "$cc" "$here/consumer.c" c11 $(ask --libs --static)
    compile static-own-names "$cc" "$here/own_names.c" c11 $(ask --libs --static)
    [ -z "$cxx" ] || compile static-cpp "$cxx" "$here/consumer.cpp" c++17 $(ask --libs --static)
    # A fully static program, where the system has all libraries for one. (A compiler prints a bare name for a missing one.)
    for needed in libblis.a libz.a libc.a; do
        case $($cc -print-file-name=$needed) in /*) ;; *) echo "static-all: skipped without $needed"; exit 0 ;; esac
    done
    compile static-all "$cc" "$here/consumer.c" c11 -static $(ask --libs --static)
    if readelf -lW "$work/static-all" | grep -q INTERP; then echo 'static-all is not static'; exit 1; fi
fi
