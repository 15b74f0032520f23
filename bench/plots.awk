# SPDX-License-Identifier: Apache-2.0
#
# Draws one figure as SVG from the records that plots.sh selects:
#
#   awk -f plots.awk -v figure=lookup-time|throughput|latency|memory records >figure.svg
#
# A record is tab-separated: what, operation, ids, partitions, load, threads, contender, unit,
# median.
#
# The table is the one thing in colour; each series has its name beside it. The ground is light in
# every theme. Text has room for the widest of the usual fonts, and none of it is in a box.

function text(x, y, size, anchor, style, words) {
  gsub(/&/, "\\&amp;", words)
  gsub(/</, "\\&lt;", words)
  printf "<text x=\"%.1f\" y=\"%.1f\" font-size=\"%d\" text-anchor=\"%s\"%s>%s</text>\n", x, y, size,
         anchor, style, words
}

function begin(width, height, title, subtitle) {
  printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\"", width, height
  printf " width=\"%d\" height=\"%d\" role=\"img\"\n", width, height
  printf "     font-family=\"DejaVu Sans,Verdana,Arial,Helvetica,sans-serif\" fill=\"%s\">\n", kInk
  printf "<title>%s</title>\n", title
  printf "<rect x=\"0.5\" y=\"0.5\" width=\"%d\" height=\"%d\" rx=\"8\"", width - 1, height - 1
  printf " fill=\"#ffffff\" stroke=\"#d0d7de\"/>\n"
  text(24, 34, 17, "start", " font-weight=\"bold\"", title)
  text(24, 56, 13, "start", " fill=\"" kGrey "\"", subtitle)
}

function is_ours(name) { return name == "placement_table" }

# Names by falling value, in order[1..n].
function sort_names(values, n,    i, j, name) {
  for (i = 2; i <= n; ++i) {
    name = order[i]
    for (j = i - 1; j >= 1 && values[order[j]] < values[name]; --j) order[j + 1] = order[j]
    order[j + 1] = name
  }
}

function number(of) {
  return of >= 10 ? sprintf("%.0f", of) : sprintf("%.1f", of)
}

function duration(ns) {
  if (ns >= 1000000) return sprintf("%.0f ms", ns / 1000000)
  if (ns >= 10000) return sprintf("%.0f us", ns / 1000)
  if (ns > 1000) return sprintf("%.1f us", ns / 1000)
  return ns == 1000 ? "1 us" : sprintf("%.0f ns", ns)
}

# ---- bars: one a contender, with its value behind it ----

function bar(y, name, share, further, greatest, words,    colour) {
  colour = is_ours(name) ? kOurs : "#aab4be"
  text(170, y + 15, 14, "end", is_ours(name) ? " font-weight=\"bold\"" : "", name)
  if (further > share) {
    printf "<rect x=\"182\" y=\"%.1f\" width=\"%.1f\" height=\"20\" fill=\"%s\" fill-opacity=\"0.25\"/>\n", y, further / greatest * kBars, colour
  }
  printf "<rect x=\"182\" y=\"%.1f\" width=\"%.1f\" height=\"20\" fill=\"%s\"/>\n", y, share / greatest * kBars, colour
  text(190 + (further > share ? further : share) / greatest * kBars, y + 15, 14, "start",
       is_ours(name) ? " font-weight=\"bold\"" : "", words)
}

function throughput(what, y, heading,    i, n, name, best) {
  text(24, y, 14, "start", " font-weight=\"bold\"", heading)
  n = 0
  for (name in rate) {
    split(name, part, SUBSEP)
    if (part[1] != what || part[3] != 2) continue
    order[++n] = part[2]
    of_two[part[2]] = rate[name]
  }
  sort_names(of_two, n)
  for (i = 1; i <= n; ++i) {
    name = order[i]
    bar(y + 12 + (i - 1) * 27, name, of_two[name], 0, of_two[order[1]],
        sprintf("%.1fx", of_two[name] / of_two["shared_mutex"]) ", " number(of_two[name]) " million/s")
  }
  for (name in of_two) delete of_two[name]
}

# ---- lines: a name and the last value at the end of each ----

function x_at(position) { return 74 + (position - x_first) / (x_last - x_first) * 440 }
function y_at(of) {
  return bottom - (log(of) - log(y_least)) / (log(y_greatest) - log(y_least)) * (bottom - top)
}

function line(name, n,    i, path, style) {
  style = "stroke=\"#aab4be\" stroke-width=\"2\""
  if (is_ours(name)) style = "stroke=\"" kOurs "\" stroke-width=\"4\""
  if (name == reference) style = "stroke=\"" kInk "\" stroke-width=\"2\" stroke-dasharray=\"7 4\""
  path = ""
  for (i = 1; i <= n; ++i) {
    if (!((name, at[i]) in value)) continue
    path = path sprintf("%s%.1f,%.1f", path == "" ? "M" : " L", x_at(place[i]), y_at(value[name, at[i]]))
  }
  printf "<path d=\"%s\" fill=\"none\" stroke-linejoin=\"round\" stroke-linecap=\"round\" %s/>\n", path, style
}

function lines(n,    i, j, m, name, y, gap, last, decade) {
  for (decade = y_least; decade <= y_greatest; decade *= 10) {
    printf "<path d=\"M74,%.1f h440\" stroke=\"#e3e8ed\"/>\n", y_at(decade)
    text(66, y_at(decade) + 5, 13, "end", " fill=\"" kGrey "\"", duration(decade))
  }
  for (i = 1; i <= n; ++i) text(x_at(place[i]), bottom + 24, 13, "middle", " fill=\"" kGrey "\"", label[i])
  m = 0
  for (name in names) {
    order[++m] = name
    last[name] = value[name, at[n]]
  }
  sort_names(last, m)
  # The others first, so that the table is on top.
  for (i = 1; i <= m; ++i) if (!is_ours(order[i])) line(order[i], n)
  line("placement_table", n)
  # Labels that are too near to one another part, each by half of what is missing.
  for (i = 1; i <= m; ++i) y[i] = y_at(last[order[i]]) + 5
  for (j = 0; j < 100; ++j) {
    for (i = 2; i <= m; ++i) {
      gap = 19 - (y[i] - y[i - 1])
      if (gap <= 0) continue
      y[i - 1] -= gap / 2
      y[i] += gap / 2
    }
  }
  for (i = 1; i <= m; ++i) {
    text(526, y[i], 14, "start",
         is_ours(order[i]) ? " font-weight=\"bold\" fill=\"" kOurs "\"" : "",
         order[i] ", " duration(last[order[i]]))
  }
}

BEGIN {
  FS = "\t"
  kInk = "#1f2933"
  kGrey = "#52606d"
  kOurs = "#0b6bcb"
  kBars = 290
}

$2 != "get" && figure != "memory" { next }
$3 != "36-byte" { next }

figure == "lookup-time" && $1 == "lookup" && $5 == "uniform" && $6 == 1 && $8 == "ns" {
  names[$7] = 1
  value[$7, $4] = $9
}
figure == "latency" && $1 == "beside flips" && $5 == "zipf" && $4 == 100000 && $8 ~ /^p/ {
  names[$7] = 1
  sub(/ ns$/, "", $8)
  value[$7, $8] = $9
}
figure == "throughput" && $1 == "lookup" && $8 == "ns" && $5 == "uniform" && $4 == 100000 {
  rate["spread", $7, $6] = 1000 / $9
}
figure == "throughput" && $1 == "lookup" && $8 == "ns" && $5 == "one-hot" && $4 == 1000 {
  rate["hot", $7, $6] = 1000 / $9
}
figure == "memory" && $1 == "memory" && $2 == "growing" && $4 == 1000000 {
  if ($8 == "bytes") allocated[$7] = $9
  else if ($8 == "resident bytes") resident[$7] = $9
}

END {
  if (figure == "lookup-time") {
    begin(760, 420, "get: time of one lookup", "36-byte ids, uniform, one thread; dashed: flat_hash_map, which no two threads may share")
    reference = "flat_hash_map"
    top = 84; bottom = 364; y_least = 10; y_greatest = 1000
    split("1000 100000 1000000", at, " ")
    split("3 5 6", place, " ")
    split("1,000|100,000|1,000,000 partitions", label, "|")
    x_first = 3; x_last = 6
    lines(3)
  } else if (figure == "latency") {
    begin(760, 420, "get, while another thread flips without pause", "36-byte ids, 100,000 partitions, Zipf; how long the slowest lookups take (the timer's own time included)")
    reference = ""
    top = 84; bottom = 364; y_least = 10; y_greatest = 1000000
    split("p50 p90 p99 p99.9 p99.99", at, " ")
    split("1 2 3 4 5", place, " ")
    split("median|1 in 10|1 in 100|1 in 1,000|1 in 10,000", label, "|")
    x_first = 1; x_last = 5
    lines(5)
  } else if (figure == "throughput") {
    begin(760, 476, "get: lookups a second, two threads", "36-byte ids; as a multiple of std::unordered_map under std::shared_mutex")
    throughput("spread", 92, "over 100,000 partitions, uniform")
    throughput("hot", 290, "one hot partition")
  } else if (figure == "memory") {
    begin(760, 296, "Memory of a partition", "1,000,000 with 36-byte ids; resident, as a multiple of flat_hash_map; pale: never touched")
    n = 0
    greatest = 0
    for (name in resident) {
      order[++n] = name
      if (allocated[name] > greatest) greatest = allocated[name]
      if (resident[name] > greatest) greatest = resident[name]
    }
    sort_names(resident, n)
    for (i = 1; i <= n; ++i) {
      name = order[n + 1 - i]
      extra = allocated[name] > 1.05 * resident[name]
      bar(84 + (i - 1) * 27, name, resident[name], extra ? allocated[name] : 0, greatest,
          sprintf("%.2fx", resident[name] / resident["flat_hash_map"]) ", " number(resident[name]) " bytes" \
          (extra ? sprintf(" (+ %.0f)", allocated[name] - resident[name]) : ""))
    }
  }
  print "</svg>"
}
