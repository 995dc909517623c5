#!/bin/sh
# Every public function has its contract: contracts.sh INCLUDE-FOLDER
#
# The comment before a function, or before a group of functions without a comment between them, has these parts in this order; "none" is
# an answer. The check must find the wrong comments of its own example, too.
set -u
work=$(mktemp -d "${TMPDIR:-/tmp}/contracts-XXXXXX") || exit 2
trap 'rm -rf "$work"' EXIT

check() {
    awk '
        function judge(name,    i, at, last) {
            functions++
            for (i = last = 1; i <= parts; i++) {
                at = index(substr(comment, last), part[i])
                if (!at) { print FILENAME ": " name ": no \"" part[i] "\", or not in its place"; wrong = 1; return }
                last += at
            }
        }
        BEGIN { parts = split("Ownership: |Aliasing: |Errors: |Threads: |Cost: |Since ", part, "|") }
        /^\/\*/ { comment = ""; inside = 1 }
        inside { line = $0; sub(/^ ?\/?\*+ ?/, "", line); comment = comment " " line }
        /\*\/$/ && inside { inside = 0; next }
        /^CRIBO_API/ {
            declaration = $0
            while (declaration !~ /\(/ && (getline line) > 0) declaration = declaration " " line
            sub(/\(.*/, "", declaration)
            sub(/.*[ *]/, "", declaration)
            judge(declaration)
        }
        END { print functions + 0 " functions"; exit wrong }' "$@"
}

cat > "$work/right.h" <<'END'
/*
 * Does a thing. Ownership: none. Aliasing: none.
 * Errors: none. Threads: any.
 * Cost: none. Since 0.1.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_a(
    int x);
CRIBO_API void cribo_b(void);
END
check "$work/right.h" > /dev/null || { echo 'a right comment is refused'; exit 1; }
for wrong in 's/Aliasing: none.//' 's/Since 0.1.//' 's/Ownership: none. \(.*\)/\1 Ownership: none./' 's/Errors: none. Threads: any./Threads: any. Errors: none./'; do
    sed "$wrong" "$work/right.h" > "$work/wrong.h"
    ! check "$work/wrong.h" > /dev/null || { echo "a wrong comment is accepted: $wrong"; exit 1; }
done

check "$1"/cribo/*.h > "$work/result"
status=$?
cat "$work/result"
[ "$status" = 0 ] && [ "$(sed -n 's/ functions$//p' "$work/result")" = "$(wc -l < "$(dirname "$0")/../abi/exports.txt")" ]
