# SPDX-License-Identifier: Apache-2.0
#
# Run by gdb on program.cpp, for its Python and its knowledge of types: that the natvis file is XML,
# and that every field which it names is one of the type's that it names it for.
#
#   gdb --batch -x check_natvis.py <program>      with NATVIS=<placement_table.natvis>
import os
import re
import xml.etree.ElementTree

import gdb

NAMESPACE = "{http://schemas.microsoft.com/vstudio/debugger/natvis/2010}"
failures = 0


def fail(text):
    global failures
    failures += 1
    print(text)


def reachable(field_type, found):
    """The names of all fields of a type, of its bases and of what its fields hold or point to."""
    field_type = field_type.strip_typedefs()
    while field_type.code in (gdb.TYPE_CODE_PTR, gdb.TYPE_CODE_ARRAY, gdb.TYPE_CODE_REF):
        field_type = field_type.target().strip_typedefs()
    if field_type.code != gdb.TYPE_CODE_STRUCT or str(field_type) in found[0]:
        return
    found[0].add(str(field_type))
    for field in field_type.fields():
        found[1].add(field.name)
        reachable(field.type, found)


def fields_of(name):
    """`name` is a type's, with * for template arguments; None if the program has no such type."""
    text = gdb.execute("info types ^%s$" % re.escape(name).replace(re.escape("<*>"), "<.*>"),
                       to_string=True)
    types = re.findall(r"^\d+:\s+(?:class |struct )?(placement::.*);$", text, re.MULTILINE)
    found = (set(), set())
    for one in types:
        reachable(gdb.lookup_type(one), found)
    return found[1] if types else None


def run():
    for described in xml.etree.ElementTree.parse(os.environ["NATVIS"]).getroot():
        name = described.get("Name")
        fields = fields_of(name)
        if fields is None:
            fail("there is no type %s" % name)
            continue
        for element in described.iter():
            # Text of a display string counts between braces only.
            texts = [element.text or "", *element.attrib.values()]
            if element.tag == NAMESPACE + "DisplayString":
                texts[0] = " ".join(re.findall(r"{([^{}]*)}", texts[0]))
            for field in re.findall(r"\b[a-z]\w*_\b", " ".join(texts)):
                if field not in fields:
                    fail("%s has no field %s" % (name, field))


try:
    run()
except Exception as error:  # whatever it is, the test has failed
    fail("%s: %s" % (type(error).__name__, error))
print("%d failures" % failures)
gdb.execute("quit %d" % (failures != 0))
