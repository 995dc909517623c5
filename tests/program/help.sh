#!/bin/sh
# The help texts of the program: help.sh PROGRAM
#
# argp sorts options by name, so each text must stand alone: none may begin as if it continued another one. A
# setting that is a choice shows its names. The check first finds the faults of an example.
set -u
program=$1
commands='pretrain embed info attention clusters neighbours evaluate report scenes'

# From a help page: each option with the beginning of its text, which may be in the next line.
texts() {
    awk '
        function show() { if (option != "") print option ": " text; option = text = "" }
        /^ +(-[a-zA-Z?], +)?--[a-z]/ {
            show()
            match($0, /--[a-z0-9-]+(\[?=[^ ]*)?/)
            option = substr($0, RSTART, RLENGTH)
            text = substr($0, RSTART + RLENGTH)
            sub(/^ */, "", text)
            next
        }
        option != "" && text == "" { text = $0; sub(/^ */, "", text) }
        END { show() }'
}

dependent() { texts | grep -iE '^--[^ ]*: (and|nor|the same|those|at|the|of)([^a-z]|$)'; }

found=$(dependent <<'END' | wc -l
      --steps-per-epoch=N    steps per epoch
      --warmup-steps=N       the same in steps
      --object-teacher-temperature=X
                             and after its warm-up
  -t, --those[=N]            Those others
      --attention=N          Attention heads
END
)
[ "$found" = 3 ] || { echo "the example has 3 faults, of which $found were found"; exit 1; }

failed=0 options=0
for command in $commands; do
    "$program" "$command" --help >help.txt || { echo "$command has no help"; failed=1; continue; }
    options=$((options + $(texts <help.txt | wc -l)))
    ! dependent <help.txt || { echo "cribo $command --help: these texts do not stand alone"; failed=1; }
done
[ "$options" -gt 100 ] || { echo "only $options options were found"; failed=1; }

"$program" pretrain --help >help.txt
grep -q -e '--precision=float32|bf16' help.txt || { echo '--precision does not show its choices'; failed=1; }
texts <help.txt | grep -qe '--precision=.*number format' || { echo 'the text of --precision is missing'; failed=1; }
! grep -qE -- '--precision=[^ ]* .*\[[0-9]\]' help.txt || { echo '--precision shows a number'; failed=1; }
echo "$options options"
exit $failed
