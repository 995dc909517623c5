#!/bin/sh
# Every public function has its contract: contracts.sh INCLUDE-FOLDER
#
# base.h states the rules that hold for all functions. The comment before a function, or before a group of
# functions without a comment between them, states what differs, in parts of this order: Ownership, Aliasing,
# Errors, Threads, Cost, Since. It must not repeat a rule. A function that returns a status has Errors, one that
# returns a pointer or makes a handle has Ownership. The check first finds the wrong comments of an example.
set -u
work=$(mktemp -d "${TMPDIR:-/tmp}/contracts-XXXXXX") || exit 2
trap 'rm -rf "$work"' EXIT

check() {
    awk '
        function wrong(name, what) { print FILENAME ": " name ": " what; failed = 1 }
        function judge(name, declaration,    i, at, last, after) {
            functions++
            if (comment == "") wrong(name, "no comment")
            for (i = last = 1; i <= parts; i++)
                if ((at = index(comment, part[i]))) {
                    if (at < last) wrong(name, part[i] "is not in its place")
                    last = at
                }
            for (i = 1; i <= rules; i++)
                if (comment ~ rule[i]) wrong(name, "repeats a rule of base.h: " rule[i])
            if (declaration ~ / cribo_status / && comment !~ /Errors: /) wrong(name, "no Errors")
            if ((declaration ~ /\*cribo_[a-z_]*$/ || name ~ /_create$/) && comment !~ /Ownership: /)
                wrong(name, "no Ownership")
        }
        BEGIN {
            parts = split("Ownership: |Aliasing: |Errors: |Threads: |Cost: |Since ", part, "|")
            rule[1] = "(Ownership|Aliasing|Errors|Threads|Cost): none[.]"
            rule[2] = "Threads: any[.]"
            rule[3] = "Threads: (one call at a time per|no other call on this) [a-z]*[.]"
            rule[4] = "Aliasing: [^.]*must not overlap [^.]*(inputs|each other)[.]"
            rule[5] = "Since 0[.]1[.]"
            rules = 5
        }
        /^$/ { comment = "" }
        /^\/\*/ { comment = ""; inside = 1 }
        inside { line = $0; sub(/^ ?\/?\*+ ?/, "", line); comment = comment " " line }
        /\*\/$/ && inside { inside = 0; next }
        /^CRIBO_API/ {
            declaration = $0
            while (declaration !~ /\(/ && (getline line) > 0) declaration = declaration " " line
            sub(/\(.*/, "", declaration)
            name = declaration
            sub(/.*[ *]/, "", name)
            judge(name, declaration)
        }
        END { print functions + 0 " functions"; exit failed }' "$@"
}

cat > "$work/right.h" <<'END'
/*
 * Makes a thing. Ownership: free with cribo_a_free.
 * Errors: CRIBO_OUT_OF_MEMORY.
 * Cost: a second. Since 0.2.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_a_create(
    int x);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_a_copy(void);

/* Frees a thing. */
CRIBO_API void cribo_a_free(void);

/* The name. Ownership: a static string. */
CRIBO_API const char *cribo_name(void);
END
check "$work/right.h" > /dev/null || { echo 'a right comment is refused'; check "$work/right.h"; exit 1; }
for wrong in 's/Ownership: free[^.]*.//' 's/^ \* Errors: .*//' 's/Ownership: a static string.//' 's/Since 0.2/Since 0.1/' \
    's/Cost: a second. //;s/^ \* Errors:/ * Cost: a second. Errors:/' 's/a thing\. \*/a thing. Threads: any. */' \
    's/a thing\. \*/a thing. Aliasing: none. */' 's,^/. Frees.*,,' 's/Cost: a/Threads: one call at a time per thing. Cost: a/'; do
    sed "$wrong" "$work/right.h" > "$work/wrong.h"
    ! check "$work/wrong.h" > /dev/null || { echo "a wrong comment is accepted: $wrong"; exit 1; }
done

for rule in Ownership Aliasing Errors Threads Cost Since; do
    grep -q "^ \*  - $rule" "$1/cribo/base.h" || { echo "base.h does not state the rule of $rule"; exit 1; }
done
check "$1"/cribo/*.h > "$work/result"
status=$?
cat "$work/result"
[ "$status" = 0 ] && [ "$(sed -n 's/ functions$//p' "$work/result")" = "$(wc -l < "$(dirname "$0")/../abi/exports.txt")" ]
