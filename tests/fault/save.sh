#!/bin/sh
# Lets every system call of a save fail, and kills it at every one: save.sh PROGRAM FOLDER weights|checkpoint
# After a failure the old file is there and no temporary; after a kill the old or the new file; never a torn one.
program=$(realpath "$1") # the build system may give it relative to its own folder
kind=$3
work=$(mktemp -d "$2/fault-XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
strace -o trace true 2>/dev/null || { echo 'strace cannot trace here'; exit 77; }

fail() {
    echo "$*"
    cat message
    exit 1
}

"$program" "$kind" file 1 && cp file old && strace -o calls "$program" "$kind" file 2 || exit 1
# The save begins with the first call that names the file.
begin=$(awk '!/^execve/ && /"file/ { print NR; exit }' calls)

# Starts from an old file, and saves a new one under strace's option; $status and the files show the outcome.
attempt() {
    rm -f file*
    cp old file
    strace -f -o trace -e trace="$1" -e inject="$2" "$program" "$kind" file 2 >message 2>&1
    status=$?
    content=$("$program" "$kind" file) || fail "$2: the file is torn"
    [ "$content" = 1 ] || [ "$content" = 2 ] || fail "$2: the file holds $content"
}

for call in write fsync close rename openat fchmod newfstatat; do
    before=$(head -n $((begin - 1)) calls | grep -c "^$call(")
    number=$(grep -c "^$call(" calls)
    for n in $(seq $((before + 1)) "$number"); do
        error=EIO reason='Input/output error'
        [ $((n % 2)) = 0 ] || error=ENOSPC reason='No space left'
        attempt $call $call:error=$error:when=$n
        [ $status = 0 ] || [ $status = 3 ] || fail "$call $n: exit status $status"
        [ "$(ls file* | wc -l)" = 1 ] || fail "$call $n: a temporary stays behind: $(ls)"
        [ $status = 0 ] || [ "$content" = 1 ] || grep -q 'the new file stands' message ||
            fail "$call $n: failed, but the file is the new one"
        [ $status != 0 ] || [ "$content" = 2 ] || fail "$call $n: no failure, but the old file"
        [ $status = 3 ] || continue
        grep -q "^file: .*$reason" message || fail "$call $n: the message does not say what happened"
        failures=$((${failures-0} + 1))
    done
done
[ "${failures-0}" -ge 8 ] || fail "only ${failures-0} failures were reported"

for call in write fsync; do
    n=$(($(head -n $((begin - 1)) calls | grep -c "^$call(") + 1))
    attempt $call $call:error=EINTR:when=$n
    [ $status = 0 ] && [ "$content" = 2 ] || fail "$call: an interruption is no failure"
done

# strace counts each kind of call by itself.
sed -n "$begin,\$s/^\([a-z0-9_]*\)(.*/\1/p" calls > names
while read -r call; do
    n=$(($(head -n $((begin - 1)) calls | grep -c "^$call(") + $(echo "$killed" | grep -cx "$call") + 1))
    killed="$killed
$call"
    attempt "$call" "$call:signal=SIGKILL:when=$n"
    [ "$status" = 137 ] || [ "$call" = exit_group ] || fail "$call $n: not killed: exit status $status"
    seen="$seen$content"
done < names
echo "$seen" | grep -qx '11*22*' || fail "the kills saw $seen"
echo "$failures failures reported, ${#seen} kills survived"
