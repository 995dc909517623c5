# Turns the comments of the public headers into what doxygen reads. In the headers they stay plain text:
#
#  - A comment before declarations belongs to each of them, up to the next empty line.
#  - Lines "name, name  text" in it are a list. Before a struct they describe its fields, which then need no separate comments.
#  - A comment behind a field or an enumerator belongs to it; a comment on a separate line within a struct, to the fields below it
#    that have none, up to the next empty line.
#  - "Errors:", "Threads:" and so on begin a paragraph with that title.

function markup(text) {
    gsub(/[<>@\\#%]/, "\\\\&", text)
    while (match(text, /`[^`]+`/))
        text = substr(text, 1, RSTART - 1) "<tt>" substr(text, RSTART + 1, RLENGTH - 2) "</tt>" substr(text, RSTART + RLENGTH)
    return text
}

function titled(text,    i, n, titles, since) {
    n = split("Ownership Aliasing Errors Threads Cost Memory", titles, " ")
    for (i = 1; i <= n; i++) gsub("(^| )" titles[i] ": ", "\n@par " titles[i] "\n", text)
    if (match(text, / ?Since [0-9]+\.[0-9]+\.$/)) {
        since = substr(text, RSTART, RLENGTH - 1)
        sub(/.* /, "", since)
        text = substr(text, 1, RSTART - 1) "\n@since " since
    }
    return text
}

# The fields that a list's line describes.
function describe(names, text,    i, n, each) {
    n = split(names, each, /, | \/ /)
    for (i = 1; i <= n; i++) about[each[i]] = text
    listed = names
}

# Takes one line of a comment, without its asterisk.
function take(line,    at, names) {
    if (match(line, /^ *[A-Za-z_][A-Za-z0-9_]*((, | \/ )[A-Za-z_][A-Za-z0-9_]*)*(  +| \[)/)) {
        if (substr(line, RLENGTH, 1) == "[") RLENGTH--
        names = substr(line, 1, RLENGTH)
        gsub(/^ +| +$/, "", names)
        describe(names, substr(line, RLENGTH + 1))
        doc = doc "\n- <b>" names "</b> " markup(substr(line, RLENGTH + 1))
    } else if (line ~ /^  +"/) {
        doc = doc "\n- " markup(line)
    } else if (line ~ /^  / && listed) {
        n_listed = split(listed, each_listed, /, | \/ /)
        sub(/^ +/, "", line)
        for (at = 1; at <= n_listed; at++) about[each_listed[at]] = about[each_listed[at]] " " line
        doc = doc "\n  " markup(line)
    } else {
        if (listed) doc = doc "\n"
        listed = ""
        doc = doc "\n" titled(markup(line))
    }
}

function field_name(line) {
    sub(/\/\*.*/, "", line)
    if (match(line, /\(\*[a-z_0-9]+\)/)) return substr(line, RSTART + 2, RLENGTH - 3)
    sub(/(\[[0-9]+\])? *;.*/, "", line)
    sub(/.*[ *]/, "", line)
    return line
}

function field(line,    name) {
    name = field_name(line)
    if (line ~ /\/\*/) sub(/\/\*/, "/**<", line)
    else if (name == "struct_size") line = line " /**< sizeof of this struct, as the caller knows it */"
    else if (name in about) line = line " /**< " markup(about[name]) " */"
    else if (heading) line = line " /**< " heading " */"
    return line
}

FNR == 1 { doc = ""; inside = body = 0; seen_file = 0 }

# Within a comment that stands before declarations.
inside {
    if (/^ \*\/$/) inside = 0
    else { line = $0; sub(/^ \* ?/, "", line); take(line) }
    if (!inside && !seen_file) { print "/** @file" doc " */"; doc = ""; seen_file = 1 }
    next
}
/^\/\*/ {
    doc = listed = ""
    delete about
    if (/\*\/$/) {
        line = $0
        gsub(/^\/\* ?| ?\*\/$/, "", line)
        take(line)
        if (!seen_file) { print "/** @file\n" doc " */"; doc = ""; seen_file = 1 }
    } else inside = 1
    next
}

# Within a struct or an enum.
body && /^}/ { body = 0; print; next }
body && /^ *\/\*.*\*\/$/ { heading = $0; gsub(/^ *\/\* ?| ?\*\/$/, "", heading); next }
body && /^$/ { heading = ""; print; next }
body && /;/ { print field($0); next }
body { sub(/\/\*/, "/**<"); print; next }

/^$/ { doc = ""; print; next }
/^(CRIBO_API|typedef|enum|#define)/ {
    if (doc) print "/**" doc " */"
    body = /[{]$/
    heading = ""
}
{ print }
