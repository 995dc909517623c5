#!/bin/sh
# rooms.sh PROGRAM: each folder of the program includes itself and the folders before it in this list, and the list has all folders.
# PROGRAM is examples/program.
rooms='base pictures scenes models drawing session commands'
failures=0
fail() {
    echo "FAILED: $*"
    failures=$((failures + 1))
}

# check ROOM SEEN: do ROOM's files include from the folders SEEN only?
check() {
    room=$1 seen=$2 lines=0
    for file in "$program/$room"/*.[ch]; do
        for folder in $(sed -n 's,^#include "\([^"]*\)".*,\1,p' "$file"); do
            lines=$((lines + 1))
            case " $seen " in *" ${folder%%/*} "*) ;; *) fail "$file includes $folder" ;; esac
        done
    done
    [ $lines -gt 0 ] || fail "$program/$room: no file includes another"
}

program=$1 before=
for room in $rooms; do
    before="$before $room"
    # The scenes are composed without a model, and a model is looked at without scenes.
    case $room in models | drawing | session) check $room "${before% scenes*}${before#* scenes}" ;; *) check $room "$before" ;; esac
done
for folder in "$program"/*/; do
    folder=${folder%/}
    case " $rooms " in *" ${folder##*/} "*) ;; *) fail "$folder is no room of the program" ;; esac
done

# The check itself finds a wrong arrow and a file outside of the rooms.
program=$(mktemp -d) || exit 1
mkdir "$program/base"
printf '#include "session/run.h"\n' >"$program/base/wrong.c"
before_failures=$failures
check base base >/dev/null
rm -r "$program"
[ $failures -eq $((before_failures + 1)) ] && failures=$before_failures || fail "a wrong arrow is not found"

[ $failures -eq 0 ] && echo "all as expected"
exit $failures
