# SPDX-License-Identifier: Apache-2.0
#
# Called by plots.sh with `data` and `out`.
set terminal svg noenhanced size 760,460 font "sans-serif,13" background "white"
set grid ytics lc rgb "#dddddd"
set format "%.0f"
set border 3
set tics nomirror
set key outside right top
set style data linespoints

blocks(name) = system("grep -c '^\"' " . data . "/" . name)

set output out . "/lookup-time.svg"
set title "get, 36-byte ids, uniform, one thread"
set logscale xy
set xlabel "partitions"
set ylabel "nanoseconds a lookup"
plot for [i=0:blocks("partitions")-1] data."/partitions" index i using 1:2 title columnheader(1) lw 2

set output out . "/throughput.svg"
unset logscale x
set xrange [0.8:2.2]
set xtics 1
set xlabel "threads"
set ylabel "million lookups a second"
set multiplot layout 2,1
set title "get, uniform, 100,000 partitions"
plot for [i=0:blocks("threads_uniform")-1] data."/threads_uniform" index i using 1:2 title columnheader(1) lw 2
set title "get, one hot partition"
plot for [i=0:blocks("threads_hot")-1] data."/threads_hot" index i using 1:2 title columnheader(1) lw 2
unset multiplot

set output out . "/latency-beside-flips.svg"
set title "get beside a thread that flips without pause (100,000, Zipf)"
set logscale xy
set xrange [1.8:12000]
set xtics ("p50" 2, "p90" 10, "p99" 100, "p99.9" 1000, "p99.99" 10000)
set xlabel "percentile"
set ylabel "nanoseconds (with the timer's own)"
plot for [i=0:blocks("latency")-1] data."/latency" index i using 1:2 title columnheader(1) lw 2

set output out . "/memory.svg"
set title "1,000,000 partitions, 36-byte ids, filled without reserve"
unset logscale
set xrange [*:*]
set yrange [0:*]
set xtics autofreq rotate by -25
set xlabel ""
set ylabel "bytes a partition"
set style data histograms
set style fill solid 0.8
plot data."/memory" using 2:xtic(1) title "allocated and not given back", "" using 3 title "resident"
