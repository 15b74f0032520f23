# SPDX-License-Identifier: Apache-2.0
#
# Pretty printers for GDB 9 or newer. In a session, or in ~/.gdbinit:
#
#   source <where placement_table is>/cmake/debugger/placement_table_gdb.py
#
# A table is shown with its partitions, each with its state, its epoch and its writes in flight, also
# while it grows. Only memory is read: no function of the program is called, so it works with core
# files, too. Nothing is locked: the program should be stopped as a whole, and of a partition that
# is just being changed the cell may be shown half written.
import re

import gdb
import gdb.printing

# What the words of a cell, a tag and a counter mean: detail/stamp.hpp, cell.hpp, tag_group.hpp,
# cell_array.hpp and write_counters.hpp say it.
STAMP_KIND = 7
STAMP_ERASED = 4
STAMP_ACTIVE_SHIFT = 3
STAMP_EPOCH_SHIFT = 4
PHASES = ("Settled", "Draining", "Cutover")
LABEL_LENGTH_SHIFT = 16
LONG_ID = 0xFFFF
ID_BLOCK_HEADER_BYTES = 64
TAG_TAKEN = 0x80
CELLS_IN_GROUP = 8
ARRAY_SHIFT_MASK = 63
ARRAY_SHIFT_AND_LOG2 = 67
COUNT_MASK = (1 << 62) - 1
FIRST_CHUNK = 16


def byte_order():
    return "big" if "big endian" in gdb.execute("show endian", to_string=True) else "little"


def word(value):
    """A detail::Word, a std::atomic<std::uint64_t> or a plain integer."""
    value = value.cast(value.type.strip_typedefs())
    if value.type.code == gdb.TYPE_CODE_STRUCT:
        for field in ("bits_", "_M_i", "__a_"):
            try:
                return word(value[field])
            except gdb.error:
                pass
        return word(value[value.type.fields()[0]])
    return int(value)


def words(value):
    """A std::array of words."""
    return [word(one) for one in elements(value)]


def elements(array):
    """The elements of a std::array, whichever standard library it is of."""
    plain = array[array.type.strip_typedefs().fields()[0]]
    first, last = plain.type.strip_typedefs().range()
    return [plain[i] for i in range(first, last + 1)]


def read(address, size):
    return bytes(gdb.selected_inferior().read_memory(address, size))


def reinterpreted(value, as_type):
    """What stands where `value` stands, as another type."""
    return value.address.cast(as_type.pointer()).dereference()


def std_text(value):
    """The bytes of a std::string."""
    try:
        return read(int(value["_M_dataplus"]["_M_p"]), int(value["_M_string_length"]))
    except gdb.error:  # another standard library: as its own printer shows it
        return value.format_string().strip('"').encode()


def std_optional(value):
    """What is in a std::optional, or None."""
    try:
        payload = value["_M_payload"]
        if not bool(payload["_M_engaged"]):
            return None
        held = payload["_M_payload"]
        return held["_M_value"]
    except gdb.error:
        return value["__val_"] if bool(value["__engaged_"]) else None


def quoted(text):
    shown = "".join(
        "\\" + chr(byte) if byte in b'"\\' else chr(byte) if 32 <= byte < 127 else "\\x%02x" % byte
        for byte in text)
    return '"' + shown + '"'


def shown(value):
    """In one line, by whichever printer its type has."""
    return " ".join(value.format_string().split())


def interned(handle):
    """What an Interned<T> stands for."""
    return handle["value_"].dereference()


def name_text(name):
    """A ClusterId or an IndexName."""
    return std_text(interned(name["text_"])).decode(errors="backslashreplace")


def enumerator(value):
    return str(value).rsplit("::", 1)[-1]


def state_text(phase, origin, destination):
    if phase == "Settled":
        return "Active(%s)" % origin
    return "%s(%s -> %s)" % (phase, origin, destination)


class Plain:
    """A printer that shows a value as one text."""

    def __init__(self, value, text):
        self.value = value
        self.text = text

    def to_string(self):
        return self.text(self.value)


def epoch_text(epoch):
    return str(int(epoch["value_"]))


def name_or_value_text(handle):
    return shown(interned(handle))


def placement_text(placement):
    slot = interned(placement["slot_"])
    text = name_text(placement["cluster_"])
    index = std_optional(slot["index"])
    if index is not None:
        text += "/" + name_text(index)
    if enumerator(slot["mode"]) == "SharedIndex":
        text += " (shared)"
    return text


def partition_state_text(state):
    return state_text(enumerator(state["phase_"]), shown(state["from_"]), shown(state["to_"]))


def transition_result_text(result):
    if bool(result["refused_"]):
        return enumerator(result["error_"])
    return "epoch " + epoch_text(result["epoch_"])


def permit_text(permit):
    placement = std_optional(permit["placement_"])
    if placement is None:
        return "refused: " + enumerator(permit["refusal_"])
    is_out = int(permit["write_"]["shard_"]) != 0
    return "%s, epoch %s, %s" % (shown(placement), epoch_text(permit["epoch_"]),
                                 "out" if is_out else "not out any more")


def stamp_text(stamp):
    bits = word(stamp["word_"])
    kind = bits & STAMP_KIND
    epoch = bits >> STAMP_EPOCH_SHIFT
    if kind == 0:
        return "moved" if epoch else "vacant"
    phase = "Erased" if kind == STAMP_ERASED else PHASES[kind - 1]
    return "%s, epoch %d, buffer %d" % (phase, epoch, (bits >> STAMP_ACTIVE_SHIFT) & 1)


def is_text(id_type):
    return "basic_string" in str(id_type.strip_typedefs())


def plain_id_text(stored, id_type):
    """An id that is no text, from the words (or the one word) that it is kept in."""
    kind = id_type.strip_typedefs().code
    if kind in (gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_UNION):
        return shown(reinterpreted(stored, id_type))
    first = word(reinterpreted(stored, gdb.lookup_type("unsigned long long")))
    return shown(gdb.Value(first).cast(id_type))


class Cell:
    """A cell that has an id."""

    def __init__(self, cell, bits, id_type, placement_type):
        self.cell = cell
        self.kind = bits & STAMP_KIND
        self.epoch = bits >> STAMP_EPOCH_SHIFT
        self.active = (bits >> STAMP_ACTIVE_SHIFT) & 1
        self.id_type = id_type
        self.placement_type = placement_type
        self.label = word(cell["label_"])

    def id_text(self):
        if is_text(self.id_type):
            return quoted(self.id_bytes())
        return plain_id_text(self.cell["id_"], self.id_type)

    def id_bytes(self):
        size = (self.label >> LABEL_LENGTH_SHIFT) & 0xFFFF
        in_cell = words(self.cell["id_"])
        order = byte_order()
        if size == LONG_ID:
            size = in_cell[1]
            whole = read(in_cell[0] + ID_BLOCK_HEADER_BYTES, (size + 7) // 8 * 8)
            in_cell = [int.from_bytes(whole[i:i + 8], order) for i in range(0, len(whole), 8)]
        if size < 4:
            return in_cell[0].to_bytes(8, "little")[:size]
        if size < 8:  # two halves that overlap
            first = (in_cell[0] & 0xFFFFFFFF).to_bytes(4, order)
            last = (in_cell[0] >> 32).to_bytes(4, order)
            return first[:size - 4] + last
        text = b"".join(one.to_bytes(8, order) for one in in_cell[:size // 8])
        if size % 8 != 0:  # the last word is the last eight bytes
            text += in_cell[size // 8].to_bytes(8, order)[8 - size % 8:]
        return text

    def placement(self, buffer):
        return shown(reinterpreted(elements(self.cell["placements_"])[buffer], self.placement_type))

    def text(self, counters):
        if self.kind == STAMP_ERASED:
            return "erased, epoch %d" % self.epoch
        phase = PHASES[self.kind - 1]
        state = state_text(phase, self.placement(self.active), self.placement(1 - self.active))
        text = "%s, epoch %d" % (state, self.epoch)
        writes = writes_in_flight(counters, self.label >> 32)
        if writes != 0:
            text += ", %d in flight" % writes
        return text


def writes_in_flight(counters, number):
    chunk = (number // FIRST_CHUNK).bit_length()
    first = 0 if chunk == 0 else (FIRST_CHUNK // 2) << chunk
    address = word(elements(counters["chunks_"])[chunk])
    counter_type = gdb.lookup_type(
        counters.type.strip_typedefs().name.replace("WriteCounters", "WriteCounter"))
    counter = gdb.Value(address).cast(counter_type.pointer())[number - first]
    return word(counter["state_"]) & COUNT_MASK


class Table:
    def __init__(self, table):
        self.table = table
        self.id_type = table.type.strip_typedefs().template_argument(0)
        self.placement_type = table.type.strip_typedefs().template_argument(1)
        # A table that was moved from memory that is not there, or not yet constructed, has none.
        self.shards = int(table["shard_mask_"]) + 1 if int(table["shards_"]) != 0 else 0

    def cells_in(self, array_word, cell_type):
        address = array_word & ~ARRAY_SHIFT_MASK
        groups = 1 << (ARRAY_SHIFT_AND_LOG2 - (array_word & ARRAY_SHIFT_MASK) - 3)
        # Tags stand before the cells: those of the first group next to them.
        tags = read(address - 8 * groups, 8 * groups)
        cells = gdb.Value(address).cast(cell_type.pointer())
        order = byte_order()
        for group in range(groups):
            at = 8 * (groups - 1 - group)
            word_of_tags = int.from_bytes(tags[at:at + 8], order)
            for i in range(CELLS_IN_GROUP):
                if (word_of_tags >> (8 * i)) & TAG_TAKEN:
                    yield cells[group * CELLS_IN_GROUP + i]

    def partitions_of(self, number):
        view = self.table["views_"][number]
        counters = self.table["shards_"][number]["counters_"]
        cell_type = view.type.strip_typedefs().template_argument(0)
        # A partition that is between two cells is in both for a moment: the later one counts.
        found = {}
        for array in (word(view["array_"]), word(view["next_"])):
            if array == 0:
                continue
            for cell in self.cells_in(array, cell_type):
                bits = word(cell["stamp_"])
                if bits & STAMP_KIND == 0:
                    continue
                one = Cell(cell, bits, self.id_type, self.placement_type)
                name = one.id_text()
                if name not in found or found[name][0] <= one.epoch:
                    found[name] = (one.epoch, one)
        for name, (_, one) in found.items():
            yield name, one.text(counters)

    def to_string(self):
        size = sum(word(self.table["shards_"][i]["live_"]) for i in range(self.shards))
        growing = sum(word(self.table["views_"][i]["next_"]) != 0 for i in range(self.shards))
        text = "%d partition%s, epoch %d, %d shard%s" % (
            size, "" if size == 1 else "s", word(self.table["generation_"]), self.shards,
            "" if self.shards == 1 else "s")
        if growing:
            text += ", %d growing" % growing
        return text

    def children(self):
        at = 0
        for shard in range(self.shards):
            for name, state in self.partitions_of(shard):
                yield "id %d" % at, name
                yield "state %d" % at, state
                at += 1

    def display_hint(self):
        return "map"


class Ref:
    def __init__(self, ref):
        self.ref = ref

    def to_string(self):
        id_type = self.ref.type.strip_typedefs().template_argument(0)
        own = self.ref["id_"]
        name = quoted(std_text(own)) if is_text(id_type) else plain_id_text(own, id_type)
        if int(self.ref["at_"]["cell"]) == 0:
            return name + ", not found yet"
        return "%s, found as %s" % (name, stamp_text(self.ref["at_"]["stamp"]))


PRINTERS = {
    "BasicPlacementTable": Table,
    "BasicPartitionRef": Ref,
    "BasicPartitionState": lambda value: Plain(value, partition_state_text),
    "BasicWritePermit": lambda value: Plain(value, permit_text),
    "ClusterId": lambda value: Plain(value, name_text),
    "Epoch": lambda value: Plain(value, epoch_text),
    "IndexName": lambda value: Plain(value, name_text),
    "Interned": lambda value: Plain(value, name_or_value_text),
    "Placement": lambda value: Plain(value, placement_text),
    "Stamp": lambda value: Plain(value, stamp_text),
    "TransitionResult": lambda value: Plain(value, transition_result_text),
}

# With or without the inline namespace of a version, and of detail.
NAME = re.compile(r"^placement::(?:v\d+::)?(?:detail::)?(\w+)(?:<.*>)?$")


class Printers(gdb.printing.PrettyPrinter):
    def __init__(self):
        super().__init__("placement_table")

    def __call__(self, value):
        value_type = value.type
        if value_type.code in (gdb.TYPE_CODE_REF, gdb.TYPE_CODE_RVALUE_REF):
            value_type = value_type.target()
        name = value_type.unqualified().strip_typedefs().tag
        match = NAME.match(name) if name else None
        printer = PRINTERS.get(match.group(1)) if match else None
        return printer(value) if printer else None


gdb.printing.register_pretty_printer(None, Printers(), replace=True)
