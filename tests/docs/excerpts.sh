#!/bin/sh
# The code in the guide is in the programs: excerpts.sh SOURCE-FOLDER
#
# A block that begins with ```LANGUAGE PATH occurs line by line in that file, shifted to the left as a whole. The check must find
# the wrong blocks of its own example, too. Prints each block that does not, and the number of blocks.
set -u
cd "$1" || exit 2
work=$(mktemp -d "${TMPDIR:-/tmp}/excerpts-XXXXXX") || exit 2
trap 'rm -rf "$work"' EXIT

check_document() {
    awk '
        function shifted(at,    i, prefix) {
            prefix = substr(source[at], 1, length(source[at]) - length(block[1]))
            if (prefix !~ /^ *$/) return 0
            for (i = 1; i <= lines; i++)
                if (source[at + i - 1] != (block[i] == "" ? "" : prefix block[i])) return 0
            return 1
        }
        function check(    at, count, line) {
            blocks++
            if (path == "") { print FILENAME ":" start ": from no file"; wrong = 1; return }
            for (count = 0; (getline line < path) > 0;) source[++count] = line
            close(path)
            for (at = 1; at + lines - 1 <= count; at++) if (shifted(at)) return
            print FILENAME ":" start ": not in " path
            wrong = 1
        }
        /^```/ && inside { if (lines) check(); inside = 0; next }
        /^```/ { inside = 1; path = $2; lines = 0; start = FNR; next }
        inside { block[++lines] = $0 }
        END { print blocks + 0 " excerpts"; exit wrong || inside }' "$1"
}

cat > "$work/right.md" <<'END'
```c examples/hooks.c
memory_count *count = user;
void *memory = malloc(bytes);
if (!memory) return NULL;
```
END
sed 's/bytes/octets/' "$work/right.md" > "$work/changed.md"
sed '/malloc/d' "$work/right.md" > "$work/shortened.md"
sed 's/^if/  if/' "$work/right.md" > "$work/bent.md"
sed 's/hooks/crooks/' "$work/right.md" > "$work/elsewhere.md"
check_document "$work/right.md" > /dev/null || { echo 'a right block is refused'; exit 1; }
sed 's/ examples.*//' "$work/right.md" > "$work/unnamed.md"
for wrong in unnamed changed shortened bent elsewhere; do
    ! check_document "$work/$wrong.md" > /dev/null || { echo "a wrong block is accepted: $wrong"; exit 1; }
done

check_document README.md || exit 1
check_document docs/guide.md > "$work/result"
status=$?
cat "$work/result"
[ "$status" = 0 ] && [ "$(sed -n 's/ excerpts$//p' "$work/result")" -ge 15 ]
