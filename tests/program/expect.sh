# The common parts of the command line's tests: the folder $work, which is removed at the end, and the count $failures.
# Read by scripts with the arguments CRIBO, the program, and PICTURES, the program that makes pictures.
cribo=$1
pictures=$2
work=$(mktemp -d) || exit 1
trap 'chmod -R u+rwx "$work"; rm -rf "$work"' EXIT
failures=0

fail() {
    echo "FAILED: $*"
    failures=$((failures + 1))
}

# expect STATUS TEXT ARGUMENTS...: runs cribo, and expects the exit status and TEXT in its messages ("" for none).
expect() {
    wanted=$1 text=$2
    shift 2
    "$cribo" "$@" >"$work/output" 2>&1
    status=$?
    [ $status -eq "$wanted" ] || fail "cribo $*: status $status, not $wanted: $(cat "$work/output")"
    [ -z "$text" ] || grep -qF -e "$text" "$work/output" || fail "cribo $*: no '$text' in: $(cat "$work/output")"
}
