# SPDX-License-Identifier: Apache-2.0
#
# Run by gdb on program.cpp: what the printers show is compared with what the program made.
#
#   gdb --batch -x check_printers.py <program>     with PRINTERS=<placement_table_gdb.py>
import os
import re

import gdb

failures = 0


def check(what, expected, shown):
    global failures
    if shown != expected:
        failures += 1
        print("%s is shown as\n  %s\nand should be\n  %s" % (what, shown, expected))


def variable(name):
    return gdb.selected_frame().read_var(name)


def check_values(**expected):
    for name, text in expected.items():
        check(name, text, variable(name).format_string())


def check_table(name, summary, partitions):
    printer = gdb.default_visualizer(variable(name))
    check(name, summary, printer.to_string())
    shown = [child for _, child in printer.children()]
    check(name + "'s ids", sorted(partitions), sorted(shown[::2]))
    for key, state in zip(shown[::2], shown[1::2]):
        check("%s[%s]" % (name, key), partitions.get(key), state)


def stop():
    """Where the program looks next."""
    gdb.execute("run" if not gdb.selected_inferior().pid else "continue", to_string=True)
    gdb.execute("up", to_string=True)


def run():
    gdb.execute("set confirm off")
    gdb.execute("set width 0")
    gdb.execute("source " + os.environ["PRINTERS"])
    gdb.execute("break look", to_string=True)

    stop()
    check_values(
        epoch="42",
        cluster="redis-a",
        text='"interned"',
        dedicated="redis-a",
        index="redis-a/orders",
        shared="redis-a/orders (shared)",
        active="Active(redis-a/orders (shared))",
        draining="Draining(redis-a -> redis-a/orders)",
        stamped="epoch 42",
        refused="WritesInFlight")

    stop()
    check_table("empty", "0 partitions, epoch 0, 16 shards", {})
    check_table("table", "7 partitions, epoch 100, 1 shard", {
        '"ab"': "Cutover(redis-a -> redis-b), epoch 10, 2 in flight",
        '"seven77"': "Draining(redis-b -> redis-a), epoch 8",
        '"fifteen-letters"': "Active(redis-a), epoch 3",
        '""': "Active(redis-b), epoch 4",
        '"nothing-more-8"': "Active(redis-b), epoch 5",
        '"with a \\" quote and a \\x0a"': "Active(redis-a), epoch 6",
        '"%s"' % ("x" * 60): "Active(redis-a), epoch 7",
        '"gone"': "erased, epoch 100",
    })
    check_values(
        permit="redis-a, epoch 9, out",
        over="redis-a, epoch 3, not out any more",
        other="redis-a, epoch 9, out",
        none="refused: Cutover",
        ref='"ab", not found yet')
    check("found", True, bool(re.fullmatch('"seven77", found as Draining, epoch 8, buffer [01]',
                                           variable("found").format_string())))

    stop()
    check_table("colours", "1 partition, epoch 1, 1 shard", {
        "(anonymous namespace)::Colour::Red": "Active(7), epoch 1",
    })
    check_table("growing", "82 partitions, epoch 82, 1 shard, 1 growing", {
        str(id): "Active(%d), epoch %d" % (id + 100, id + 41)
        for id in range(-40, 42)
    })
    check_table("tenants", "1 partition, epoch 1, 1 shard", {
        "{tenant = 1, shard = 2, index = 3}": "Active(7), epoch 1, 1 in flight",
    })
    check_values(
        ref="-40, not found yet",
        permit="7, epoch 1, out",
        of_tenant="{tenant = 1, shard = 2, index = 3}, not found yet")

    # As a user sees it.
    shown = gdb.execute("print colours", to_string=True).strip()
    check("print", "1 partition, epoch 1, 1 shard = "
          "{[(anonymous namespace)::Colour::Red] = Active(7), epoch 1}", shown.split(" = ", 1)[1])


try:
    run()
except Exception as error:  # whatever it is, the test has failed
    failures += 1
    print("%s: %s" % (type(error).__name__, error))
print("%d failures" % failures)
gdb.execute("kill")
gdb.execute("quit %d" % (failures != 0))
