#!/bin/sh
# Names that the documents cite in backticks exist in the sources: citations.sh SOURCE-FOLDER
#
#   `lib/base/pool.c`, `tests/`          a file or folder of the project, of lib/ or of include/
#   `model/vit.c:cb_vit_forward`         a name in that file
#   `cb_gemm`, `CRIBO_CPU`               one of the project's names that occurs in some source, comments left out
#   `batch_cost`                         the same for any name with an underscore, in the documents that describe the sources
#
# Other backticked text is passed over. Documents and headings that sources name must exist as well. The check must find the wrong
# citations of its own examples, too.
set -u
cd "$1" || exit 2
work=$(mktemp -d "${TMPDIR:-/tmp}/citations-XXXXXX") || exit 2
trap 'rm -rf "$work"' EXIT

find lib include examples tests pkgconfig -type f ! -path 'tests/reference/*' ! -path 'tests/docs/*' \
    \( -name '*.c' -o -name '*.h' -o -name '*.cpp' -o -name 'meson.build' -o -name '*.sh' -o -name '*.map' -o -name '*.py' \) -exec cat {} + |
    cat - meson.build meson_options.txt | grep -v '^ *\(/\*\|\*\|//\|#[^a-z]\)' |
    grep -o '[A-Za-z_][A-Za-z0-9_]*' | LC_ALL=C sort -u > "$work/names"

# The file or folder that a path means, if there is one.
resolve() {
    for place in "$1" "lib/$1" "include/$1"; do
        [ -e "$place" ] && printf '%s\n' "$place" && return 0
    done
    return 1
}

# The faults of one citation, a line each.
check_citation() {
    case $1 in
    */*.[ch]:*)
        file=$(resolve "${1%%:*}") || { echo "there is no file ${1%%:*}"; return; }
        grep -qw -e "${1#*:}" "$file" || echo "$file has no ${1#*:}" ;;
    lib/* | include/* | examples/* | tests/* | docs/* | pkgconfig/* | */*.[ch])
        resolve "$1" > "$work/path" || echo "there is no $1" ;;
    esac
}

# The faults of a document: FILE
check_document() {
    grep -v '^    ' "$1" | grep -o '`[^`]*`' | tr -d '`' | LC_ALL=C sort -u > "$work/cited"
    case $1 in
    *algorithm.md | *architecture.md | "$work"/*) prefix='[A-Za-z][A-Za-z0-9]*' ;;
    *) prefix='\(cb\|cribo\|CB\|CRIBO\)' ;;
    esac
    grep -x "${prefix}_[A-Za-z0-9_]*\(()\)\{0,1\}" "$work/cited" | tr -d '()' | LC_ALL=C sort -u |
        LC_ALL=C comm -23 - "$work/names" | sed 's/^/no source has /'
    grep / "$work/cited" | grep -v '[ *{]' > "$work/paths"
    while read -r path; do check_citation "$path"; done < "$work/paths"
}

cat > "$work/example.md" << 'END'
Right: `cb_gemm`, `cb_gemm()`, `CRIBO_CPU`, `batch_cost`, `lib/base/`, `tensor/gemm.c`, `tensor/gemm.c:cut`, `x / y`.
Wrong: `cb_gemn`, `cribo_train()`, `batch_costs`, `lib/bass/`, `tensor/gem.c`, `tensor/gemm.c:cb_vit_forward`, `tensor/gem.c:cut`.
END
faults=$(check_document "$work/example.md" | grep -c .)
[ "$faults" = 7 ] || { echo "the example has 7 faults, of which $faults were found:"; check_document "$work/example.md"; exit 1; }

# The wrong references of sources to documents: docs/NAME.md, or docs/NAME.md, "Heading" in one line
check_sources() {
    grep -rhoE 'docs/[a-z_]+\.md(, "[^"]*")?' "$@" | LC_ALL=C sort -u | while IFS=, read -r document heading; do
        heading=$(printf '%s' "$heading" | sed 's/^ "//; s/"$//')
        [ -f "$document" ] || echo "a source names $document, which is not there"
        [ -z "$heading" ] || grep -qxE "#+ $heading" "$document" || echo "$document has no heading \"$heading\""
    done
}

printf '/* docs/algorithm.md, "Algorithm" docs/algorithm.md, "Algo" docs/algorythm.md */\n' > "$work/example.c"
faults=$(check_sources "$work/example.c" | grep -c .)
[ "$faults" = 2 ] || { echo "the second example has 2 faults, of which $faults were found"; exit 1; }

check_sources lib include examples/program > "$work/faults"
cat "$work/faults"
failed=0 cited=0
[ -s "$work/faults" ] && failed=1
for document in docs/*.md README.md CHANGELOG.md; do
    [ -f "$document" ] || continue
    check_document "$document" > "$work/faults"
    sed "s,^,$document: ," "$work/faults"
    [ -s "$work/faults" ] && failed=1
    cited=$((cited + $(grep -c . "$work/cited")))
done
echo "$cited citations"
[ "$cited" -gt 100 ] && [ "$failed" = 0 ]
