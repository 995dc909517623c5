#!/bin/sh
# Each public header compiles alone and twice, with all warnings: headers.sh INCLUDE-FOLDER c11|c++17 COMPILER...
include=$1 standard=$2
shift 2
case $standard in c++*) language=c++ ;; *) language=c ;; esac
failed=0
for header in "$include"/cribo/*.h; do
    name=cribo/${header##*/}
    printf '#include "%s"\n#include "%s"\n' "$name" "$name" |
        "$@" -x "$language" -std="$standard" -Wall -Wextra -Wpedantic -Wundef -Werror -I"$include" -fsyntax-only - ||
        { echo "$name does not compile alone as $standard"; failed=1; }
done
exit $failed
