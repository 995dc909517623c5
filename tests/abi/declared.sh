#!/bin/sh
# The functions that the public headers declare, one a line, sorted: declared.sh INCLUDE-FOLDER
cat "$1"/cribo/*.h | tr '\n' ' ' | sed 's,/\*\([^*]\|\*[^/]\)*\*/, ,g' |
    grep -o 'CRIBO_API [^;(]*(' | grep -o 'cribo_[a-z0-9_]* *($' | tr -d ' (' | LC_ALL=C sort
