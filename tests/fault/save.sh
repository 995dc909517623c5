#!/bin/sh
# Lets every system call of a save fail, and kills it at every one: save.sh PROGRAM FOLDER
# After a failure the old file is there and no temporary; after a kill the old or the new file; never a torn one.
program=$(realpath "$1") # the build system may give it relative to its own folder
work=$(mktemp -d "$2/fault-XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
strace -o trace true 2>/dev/null || { echo 'strace cannot trace here'; exit 77; }

fail() {
    echo "$*"
    cat message
    exit 1
}

# Starts from an old file; $status and the files tell what came of saving a new one under strace's option.
attempt() {
    rm -f file*
    "$program" file 1 || exit 1
    strace -f -o trace -e trace="$1" -e inject="$2" "$program" file 2 >message 2>&1
    status=$?
    content=$("$program" file) || fail "$2: the file is torn"
    [ "$content" = 1 ] || [ "$content" = 2 ] || fail "$2: the file holds $content"
}

# The calls that the program itself makes, from the first that names the file on.
"$program" file 1 && strace -o calls "$program" file 2 || exit 1
for call in write fsync close rename openat fchmod newfstatat; do
    number=$(grep -c "^$call(" calls)
    for n in $(seq 1 "$number"); do
        attempt $call $call:error=ENOSPC:when=$n
        [ $status = 0 ] || [ $status = 3 ] || [ $status = 127 ] || fail "$call $n: exit status $status"
        [ "$(ls file* | wc -l)" = 1 ] || fail "$call $n: a temporary stays behind: $(ls)"
        [ $status = 0 ] || [ "$content" = 1 ] || grep -q 'the new file stands' message ||
            fail "$call $n: failed, but the file is the new one"
        [ $status != 0 ] || [ "$content" = 2 ] || fail "$call $n: no failure, but the old file"
        [ $status = 3 ] || continue
        grep -q '^file: .*No space left' message || fail "$call $n: the message does not say what happened"
        failures=$((${failures-0} + 1))
    done
done
[ "${failures-0}" -ge 8 ] || fail "only ${failures-0} failures were reported"

for call in write fsync; do
    attempt $call $call:error=EINTR:when=1
    [ $status = 0 ] && [ "$content" = 2 ] || fail "$call: an interruption is no failure"
done

kills=$(wc -l < calls)
for n in $(seq 1 "$kills"); do
    attempt all all:signal=SIGKILL:when=$n
    seen="$seen$content"
done
case $seen in *1*2*) ;; *) fail "the kills saw only $seen" ;; esac
echo "$failures failures reported, $kills kills survived"
