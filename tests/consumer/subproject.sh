#!/bin/sh
# A project that embeds the sources as a meson subproject builds and runs: subproject.sh BUILD-FOLDER SOURCE-FOLDER MESON CC
build=$1 source=$2 meson=$3 CC=$4
export CC
work=$(mktemp -d "$build/tests/subproject-XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
set -e
mkdir "$work/subprojects"
ln -s "$source" "$work/subprojects/cribo"
cp "$source/tests/consumer/subproject/meson.build" "$source/tests/consumer/consumer.c" "$work"
$meson setup "$work/build" "$work" --buildtype debug --wrap-mode forcefallback > "$work/log" 2>&1 &&
    $meson compile -C "$work/build" >> "$work/log" 2>&1 || { tail -n 30 "$work/log"; exit 1; }
"$work/build/consumer" | grep -qx ok
