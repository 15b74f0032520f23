# SPDX-License-Identifier: Apache-2.0
#
# How Doxygen reads our headers: awk -f doxygen-filter.awk HEADER. Each line stays on its line.
#
# The headers have plain comments. This makes documentation of those that stand before a
# declaration, or behind a member on its line; a comment inside a function, or one with an empty
# line below it, is none. It leaves the inline namespace out, so that names read as a user writes
# them, and what stands below a line of dashes: the bodies.

# What would be markup to Doxygen, outside of `code`, is text.
function escaped(text,    parts, count, i, out) {
  count = split(text, parts, "`")
  out = ""
  for (i = 1; i <= count; ++i) {
    if (i % 2 == 1) {
      gsub(/[\\@<>#%]/, "\\\\&", parts[i])
      gsub(/\*/, "\\*", parts[i])
    }
    out = out (i > 1 ? "`" : "") parts[i]
  }
  return out
}

# A line without what is in it of strings, characters and comments.
function code_of(line) {
  gsub(/\\./, "", line)
  gsub(/"[^"]*"/, "", line)
  gsub(/'[^']*'/, "", line)
  sub(/\/\/.*/, "", line)
  return line
}

# Keeps `depth` and `is_body[depth]`: whether the text is inside a function.
function follow(line,    i, c, scope) {
  if (line ~ /^[ \t]*#/) return
  for (i = 1; i <= length(line); ++i) {
    c = substr(line, i, 1)
    if (c == "{") {
      scope = statement ~ /(^|[^A-Za-z_])(namespace|class|struct|union|enum)[^A-Za-z_]/ &&
              statement !~ /\)[ \t]*(const|noexcept|->.*)?[ \t]*$/
      is_body[depth + 1] = is_body[depth] || !scope
      ++depth
      statement = ""
    } else if (c == "}") {
      if (depth > 0) --depth
      statement = ""
    } else if (c == ";") {
      statement = ""
    } else {
      statement = statement c
    }
  }
  statement = statement " "
}

# A block of comment lines: `count` of them, in `block`, without their slashes.
function print_block(is_documentation,    i, text, rest, head, verbatim, in_list) {
  verbatim = in_list = 0
  for (i = 1; i <= count; ++i) {
    text = block[i]
    if (!is_documentation) {
      print indent[i] "//" text
      continue
    }
    sub(/^ /, "", text)
    rest = text
    sub(/^ +/, "", rest)
    if (rest ~ /^(clang-format o|NOLINT)/) text = rest = ""
    # Two columns further in, after an empty line or a colon: an example or a table, as it stands;
    # or a list. Markdown's block begins after an empty line only, so a colon's is a list, too.
    if (text ~ /^  / && rest !~ /^- /) {
      if (!verbatim && (i == 1 || block[i - 1] ~ /^ *$/)) verbatim = 1
    } else if (text != "") {
      verbatim = 0
    }
    if (text ~ /^  [A-Z]/ && !verbatim && (block[i - 1] ~ /:$/ || in_list)) {
      in_list = 1
      rest = "- " rest
    } else if (text !~ /^  /) {
      in_list = 0
    }
    if (verbatim) {
      print indent[i] "///     " text
    } else if (rest ~ /^(Progress|Concurrency): /) {
      head = rest
      sub(/: .*/, ":", head)
      print indent[i] "/// **" head "** " escaped(substr(rest, length(head) + 2))
    } else {
      print indent[i] "/// " escaped(rest ~ /^- / ? rest : text ~ /^  / ? "  " rest : text)
    }
  }
  count = 0
}

BEGIN { depth = 0; is_body[0] = 0; count = 0; statement = "" }

/^\/\/ --------------------/ { in_bodies = 1 }
in_bodies && $0 != "}  // namespace v1" {
  print ""
  next
}
in_bodies { in_bodies = 0 }

/^[ \t]*\/\// {
  line = $0
  match(line, /^[ \t]*/)
  ++count
  indent[count] = substr(line, 1, RLENGTH)
  block[count] = substr(line, RLENGTH + 3)
  next
}

{
  declares = !is_body[depth] && $0 !~ /^[ \t]*$/ && $0 !~ /^[ \t]*[#}]/ && $0 !~ /^[ \t]*(public|private|protected):/ &&
             block[1] !~ /^ (----|SPDX)/ && $0 !~ /^(inline )?namespace/
  print_block(declares)
  line = $0
  if (line == "inline namespace v1 {" || line == "}  // namespace v1") {
    print ""
    next
  }
  code = code_of(line)
  if (!is_body[depth] && line ~ /[;,}{A-Za-z0-9]  +\/\/ / && code !~ /^[ \t]*[#}]/ && code ~ /[;,A-Za-z0-9][ \t]*$/ && code !~ /\)/) {
    at = index(line, "  // ")
    text = substr(line, at + 5)
    if (text !~ /^NOLINT/) line = substr(line, 1, at) " ///< " escaped(text)
  }
  print line
  follow(code)
}

END { print_block(0) }
