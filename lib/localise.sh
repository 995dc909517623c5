#!/bin/sh
# Joins all objects of an archive to one, in which only the names that begin with cribo_ are global:
# localise.sh INPUT OUTPUT OBJCOPY AR LINK-COMMAND...
# A program may then define internal names of the library, such as cb_gemm, itself.
# Names with a dot are parts of functions that a compiler split off.
set -e
input=$1 output=$2 objcopy=$3 ar=$4
shift 4
object=${output%.a}.o
"$@" -o "$object" -Wl,--whole-archive "$input" -Wl,--no-whole-archive
"$objcopy" --wildcard --keep-global-symbol='!*.*' --keep-global-symbol='cribo_*' "$object"
rm -f "$output"
"$ar" rcs "$output" "$object"
rm -f "$object"
