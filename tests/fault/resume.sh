#!/bin/sh
# Kills a run at every system call of a save, and lets it go on: resume.sh PROGRAM FOLDER THREADS
# With that many threads before the kill, and 1, 2 or 3 after it, the run ends with the bytes of one that nobody disturbed. With one thread
# the calls are all the process makes; with more those of the thread that saves, but for its waiting, which differs from run to run.
program=$(realpath "$1") # the build system may give it relative to its own folder
threads=$3
work=$(mktemp -d "$2/fault-XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
strace -o trace true 2>/dev/null || { echo 'strace cannot trace here'; exit 77; }

fail() {
    echo "$*"
    cat message
    exit 1
}

"$program" whole 1 && strace -o calls "$program" file "$threads" >message 2>&1 || fail 'the run itself failed'
cmp whole.final file.final || fail 'the number of threads shows'
begin=$(grep -n '"save-begins"' calls | cut -d: -f1)
end=$(grep -n '"save-ends"' calls | cut -d: -f1)
[ "$begin" ] && [ "$end" ] || fail 'the save cannot be found in the trace'

# strace counts each kind of call by itself.
sed -n "$((begin + 1)),$((end - 1))s/^\([a-z0-9_]*\)(.*/\1/p" calls >names
again=1 kills=0 old=0
while read -r call; do
    [ "$threads" = 1 ] || [ "$call" != futex ] || continue
    n=$(($(head -n "$begin" calls | grep -c "^$call(") + $(echo "$before" | grep -cx "$call") + 1))
    before="$before
$call"
    rm -f file file.*
    strace -o trace -e trace="$call" -e inject="$call:signal=SIGKILL:when=$n" "$program" file "$threads" >message 2>&1
    status=$?
    [ "$status" = 137 ] || { [ "$threads" != 1 ] && [ "$status" = 0 ]; } || fail "$call $n: exit status $status"
    [ "$status" = 0 ] || kills=$((kills + 1))
    [ -f file.final ] || ! ls file.*.tmp >message 2>&1 || old=$((old + 1))
    "$program" file $again >message 2>&1 || fail "$call $n: does not go on"
    cmp whole.final file.final || fail "$call $n: killed with $threads threads and resumed with $again, the run ends differently"
    again=$((again % 3 + 1))
done <names
[ "$kills" -ge 12 ] && [ "$old" -ge 4 ] || fail "only $kills kills, $old of them with a temporary left"
echo "$kills kills survived"
