# What the tests of the command line share: the folder $work, which goes at the end, and the count $failures. To be read by a script
# whose arguments are CRIBO, the program, and PICTURES, the one that makes pictures.
cribo=$1
pictures=$2
work=$(mktemp -d) || exit 1
trap 'chmod -R u+rwx "$work"; rm -rf "$work"' EXIT
failures=0

fail() {
    echo "FAILED: $*"
    failures=$((failures + 1))
}

# expect STATUS TEXT ARGUMENTS...: runs cribo, wants the exit status and TEXT in its messages ("" for none).
expect() {
    wanted=$1 text=$2
    shift 2
    "$cribo" "$@" >"$work/output" 2>&1
    status=$?
    [ $status -eq "$wanted" ] || fail "cribo $*: status $status, not $wanted: $(cat "$work/output")"
    [ -z "$text" ] || grep -qF -e "$text" "$work/output" || fail "cribo $*: no '$text' in: $(cat "$work/output")"
}
