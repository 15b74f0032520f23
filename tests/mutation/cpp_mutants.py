# SPDX-License-Identifier: Apache-2.0
"""Finds small mutations of a C++ header in this project's style, from its text.

It is no parser: it relies on clang-format's spaces (a binary operator stands between spaces, a
template's brackets do not) and on the style's names. What it gets wrong does not compile, and
mutate.py then drops that mutation.

A mutant replaces one span of the text. All mutants of a header are rendered into one text in which
`placement_mutation::on(n)` chooses, so that the tests are compiled once and not once a mutant.
"""

import re
from dataclasses import dataclass, field

TOKEN = re.compile(
    r"[A-Za-z_]\w*|\d[\w']*|\"[^\"]*\"|<=>|->\*|\.\.\.|<<=|>>=|::|->|\+\+|--|<<|>>|<=|>=|==|!="
    r"|&&|\|\||\+=|-=|\*=|/=|%=|&=|\|=|\^=|\S"
)
ASSIGNMENTS = {"=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>="}
PRECEDENCE = {"*": 10, "/": 10, "%": 10, "+": 9, "-": 9, "<<": 8, ">>": 8, "<": 6, "<=": 6, ">": 6,
              ">=": 6, "==": 5, "!=": 5, "&": 4, "^": 3, "|": 2, "&&": 1, "||": 0}
OPERATORS = {"==": ["!="], "!=": ["=="], "<": ["<=", ">="], "<=": ["<", ">"], ">": [">=", "<="],
             ">=": [">", "<"], "+": ["-"], "-": ["+"], "*": ["/"], "/": ["*"], "%": ["/"],
             "<<": [">>"], ">>": ["<<"], "&": ["|"], "|": ["&"], "^": ["|"]}
WEAKER = {  # by what the access does
    "load": {"seq_cst": ["acquire", "relaxed"], "acquire": ["relaxed"]},
    "store": {"seq_cst": ["release", "relaxed"], "release": ["relaxed"]},
    "": {"seq_cst": ["acq_rel", "relaxed"], "acq_rel": ["relaxed"], "acquire": ["relaxed"],
         "release": ["relaxed"]},
}
STATEMENT_KEYWORDS = {"return", "if", "for", "while", "do", "switch", "case", "default", "else",
                      "using", "typedef", "static_assert", "goto", "throw", "try", "catch", "assert",
                      "break", "continue", "new", "delete", "template", "static", "const",
                      "constexpr", "auto", "friend", "public", "private", "co_return"}


@dataclass
class Mutant:
    file: str
    start: int
    end: int
    operator: str     # which kind of mutation
    replacement: str  # the text that takes the span's place
    function: str = ""
    line: int = 0
    source: str = ""  # the line's text
    before: str = ""  # the span's text
    nth: int = 0      # among those that look the same
    number: int = 0
    statement: bool = False

    @property
    def change(self):
        def short(text):
            text = " ".join(text.split())
            return text if len(text) <= 60 else text[:57] + "..."
        if self.operator == "statement dropped":
            return f"`{short(self.before)}` dropped"
        return f"`{short(self.before)}` -> `{short(self.replacement)}`"

    @property
    def key(self):
        return f"{self.file}|{self.function}|{self.source}|{self.operator}|{self.change}|{self.nth}"


@dataclass
class Header:
    """A header's text, its tokens, and which brackets belong together."""
    file: str
    text: str
    enumerators: dict
    mutants: list = field(default_factory=list)

    def __post_init__(self):
        self.masked = mask(self.text)
        found = [m for m in TOKEN.finditer(self.masked)]
        self.tokens = [m.group() for m in found]
        self.starts = [m.start() for m in found]
        self.ends = [m.end() for m in found]
        self.match = {}
        stack = []
        closes = {")": "(", "]": "[", "}": "{"}
        for i, token in enumerate(self.tokens):
            if token in closes.values():
                stack.append(i)
            elif token in closes:
                opening = stack.pop()
                self.match[opening] = i
                self.match[i] = opening
        self.classify_braces()

    # ---- what a brace encloses ----

    def head(self, i):
        """The index of the first token of the declaration or statement that `{` at i belongs to."""
        j = i - 1
        while j >= 0 and self.tokens[j] not in ";{}":
            if self.tokens[j] in (")", "]"):
                j = self.match[j]
            j -= 1
        return j + 1

    def classify_braces(self):
        self.kind = {}         # "{" -> namespace, class, enum, body, block, init, requirements
        self.function_of = {}  # "{" of a body -> (name, whether it returns bool)
        enclosing = []
        self.context = []
        for i, token in enumerate(self.tokens):
            self.context.append(enclosing[-1] if enclosing else None)
            if token == "{":
                self.kind[i] = self.kind_of(i, enclosing[-1] if enclosing else None)
                enclosing.append(i)
            elif token == "}" and enclosing:
                enclosing.pop()

    def kind_of(self, i, parent):
        previous = self.tokens[i - 1] if i else ""
        in_body = parent is not None and self.kind[parent] in ("body", "block", "init", "lambda")
        head = self.tokens[self.head(i):i]
        if previous == ")":
            before = self.match.get(i - 1, 0) - 1
            if before > 0 and self.tokens[before] == "requires" and self.tokens[before - 1] in (
                    "requires", "=", "&&", "||"):
                return "requirements"
            if self.kind.get(parent) == "requirements":
                return "requirements"
        if self.kind.get(parent) == "requirements":
            return "requirements"
        if in_body:
            if {"class", "struct", "enum"} & set(head) and "(" not in head:
                return "class"
            if self.is_lambda(i):
                return "lambda"
            if self.kind[parent] == "init":
                return "init"
            if previous in (")", "{", "}", ";", "else", "do", "try", ":"):
                return "block"
            return "init"
        if "namespace" in head:
            return "namespace"
        if "enum" in head:
            return "enum"
        if {"class", "struct", "union"} & set(head):
            return "class"
        if previous in (")", "const", "noexcept", "override", "final", "}") or "->" in head:
            self.function_of[i] = self.name_of(self.head(i), i)
            return "body"
        return "init"

    def is_lambda(self, i):
        j = i - 1
        while j > 0 and (re.match(r"[A-Za-z_:&*>]", self.tokens[j]) or self.tokens[j] in ("->", "<")):
            if self.tokens[j] in ("return", "else", "do", "try"):
                return False
            j -= 1
        if self.tokens[j] == ")":
            j = self.match.get(j, j) - 1
        return self.tokens[j] == "]"

    def name_of(self, head, brace):
        depth_template = 0
        j = head
        while j < brace:
            token = self.tokens[j]
            if token == "template" and self.tokens[j + 1] == "<":
                depth_template = 0
                j += 1
                while True:
                    depth_template += {"<": 1, ">": -1, ">>": -2}.get(self.tokens[j], 0)
                    j += 1
                    if depth_template <= 0:
                        break
                continue
            if token in ("requires", "alignas", "decltype"):
                after = j + 1
                if self.tokens[after] == "requires":
                    after += 1
                if self.tokens[after] == "(":
                    j = self.match[after] + 1
                    continue
            if token == "(" and j > head:
                name = self.tokens[j - 1]
                if "operator" in self.tokens[head:j]:
                    at = head + self.tokens[head:j].index("operator")
                    name = "".join(self.tokens[at:j])
                    name = name.replace("operatorbool", "operator bool")
                elif self.tokens[j - 2] == "~":
                    name = "~" + name
                returns_bool = "bool" in self.tokens[head:j]
                return name, returns_bool
            j += 1
        return "", False

    # ---- sites ----

    def add(self, first, last, operator, replacement, statement=False):
        """The mutant that replaces the tokens first..last."""
        start, end = self.starts[first], self.ends[last]
        function = ""
        at = self.context[first]
        while at is not None:
            if at in self.function_of:
                function = self.function_of[at][0]
            at = self.context[at]
        line = self.text.count("\n", 0, start) + 1
        self.mutants.append(
            Mutant(self.file, start, end, operator, replacement, function, line,
                   self.text.split("\n")[line - 1].strip(), self.text[start:end],
                   statement=statement))

    def span(self, first, last):
        return self.text[self.starts[first]:self.ends[last]]

    def in_body(self, i):
        at = self.context[i]
        while at is not None:
            if self.kind[at] == "body":
                return True
            if self.kind[at] in ("class", "enum", "requirements"):
                return False
            at = self.context[at]
        return False

    def is_binary(self, i):
        token = self.tokens[i]
        if token not in PRECEDENCE or i == 0:
            return False
        start, end = self.starts[i], self.ends[i]
        if not (self.masked[start - 1].isspace() and self.masked[end:end + 1].isspace()):
            return False
        return self.tokens[i - 1] not in {"(", ",", "return", "operator"} | ASSIGNMENTS

    def stops(self, i, precedence, inclusive):
        token = self.tokens[i]
        if token in (";", ",", "?", ":", "return", "throw", "case", "else", "do", "(", "[", "{"):
            return True
        if token in ASSIGNMENTS:
            return True
        if self.is_binary(i):
            other = PRECEDENCE[token]
            return other <= precedence if inclusive else other < precedence
        return False

    def left_of(self, i, precedence):
        j = i - 1
        while j >= 0:
            token = self.tokens[j]
            if token == "}":
                opening = self.match.get(j)
                if opening is None or self.kind.get(opening) not in ("init", "lambda"):
                    break
                j = opening - 1
                continue
            if token in (")", "]"):
                opening = self.match[j]
                if token == ")" and self.tokens[opening - 1] in ("if", "for", "while", "constexpr"):
                    break
                j = opening - 1
                continue
            if self.stops(j, precedence, inclusive=False):
                break
            j -= 1
        return j + 1

    def right_of(self, i, precedence):
        j = i + 1
        while j < len(self.tokens):
            token = self.tokens[j]
            if token in ("(", "[", "{"):
                j = self.match[j] + 1
                continue
            if token in (")", "]", "}"):
                break
            if self.stops(j, precedence, inclusive=True):
                break
            j += 1
        return j - 1

    def statement_begins(self, i):
        """Whether a statement begins with token i."""
        previous = self.tokens[i - 1]
        if previous == ";":
            opening = self.context[i]
            # not within the parentheses of a for
            j = i - 1
            depth = 0
            while j > (opening or 0):
                if self.tokens[j] == ")":
                    depth += 1
                elif self.tokens[j] == "(":
                    depth -= 1
                    if depth < 0:
                        return False
                j -= 1
            return True
        if previous == "{":
            return self.kind[i - 1] in ("body", "block", "lambda")
        if previous == "}":
            return self.kind.get(self.match.get(i - 1)) in ("block", "body")
        if previous in ("else", "do"):
            return True
        if previous == ")":
            return self.tokens[self.match[i - 1] - 1] in ("if", "for", "while")
        return False

    def statement_end(self, i):
        j = i
        while self.tokens[j] != ";":
            if self.tokens[j] in ("(", "[", "{"):
                j = self.match[j]
            elif self.tokens[j] == "}":
                return None
            j += 1
        return j

    def in_constant(self, i):
        """Whether token i stands in a constant expression, an assertion or a case label."""
        j = i
        while j > 0 and not self.tokens[j - 1] in (";", "{", "}"):
            j -= 1
            if self.tokens[j] == ")" and self.match[j] < j:
                j = self.match[j]
        head = self.tokens[j:i]
        if "constexpr" in head or "static_assert" in head or "case" in head or "using" in head:
            return True
        # an enclosing assert( or alignas( or template argument
        depth = 0
        for k in range(i - 1, max(0, i - 200), -1):
            if self.tokens[k] in (")", "]"):
                depth += 1
            elif self.tokens[k] in ("(", "["):
                if depth == 0:
                    if self.tokens[k - 1] in ("assert", "static_assert", "alignas", "decltype", "sizeof"):
                        return True
                else:
                    depth -= 1
            elif self.tokens[k] in (";", "}") and depth == 0:
                break
        return False

    def is_postfix_expression(self, first, last):
        """Whether first..last is a call or an assignment, not a declaration."""
        i = first
        while self.tokens[i] in ("++", "--", "*"):
            i += 1
        if self.tokens[i] == "::":
            i += 1
        if self.tokens[i] == "(":
            i = self.match[i] + 1
        elif re.match(r"[A-Za-z_]", self.tokens[i]) and self.tokens[i] not in STATEMENT_KEYWORDS:
            i += 1
        else:
            return False
        while i <= last:
            token = self.tokens[i]
            if token in (".", "->", "::"):
                i += 1
                if self.tokens[i] in ("~", "template"):
                    i += 1
                i += 1
            elif token in ("(", "["):
                i = self.match[i] + 1
            elif token == "<" and not self.masked[self.starts[i] - 1].isspace():
                depth = 0
                while True:
                    depth += {"<": 1, ">": -1, ">>": -2}.get(self.tokens[i], 0)
                    i += 1
                    if depth <= 0:
                        break
            elif token in ASSIGNMENTS:
                # `it->member = x`, `a[i] += x`, but not `Type name = x`
                return True
            elif token in ("++", "--"):
                i += 1
            else:
                return False
        return True

    def find(self):
        used = self.used_enumerators()
        for i, token in enumerate(self.tokens):
            if not self.in_body(i):
                continue
            if self.statement_begins(i):
                self.statement(i)
            if self.in_constant(i):
                continue
            if token in ("if", "while", "for"):
                self.condition(i)
            elif token == "?":
                self.ternary(i)
            elif self.is_binary(i):
                self.binary(i)
            elif token in ("true", "false"):
                if self.tokens[i - 2:i] != ["while", "("]:
                    self.add(i, i, "literal", "false" if token == "true" else "true")
            elif token.isdigit() or re.fullmatch(r"\d+U?", token):
                self.number(i)
            elif token in ("min", "max") and self.tokens[i - 1] == "::":
                self.min_max(i)
            elif token.startswith("memory_order_"):
                self.order(i)
            elif token in self.enumerators and self.tokens[i + 1] == "::":
                self.enumerator(i)
            elif token in used and self.is_unqualified_enumerator(i):
                names = self.enumerators[used[token]]
                other = names[(names.index(token) + 1) % len(names)]
                self.add(i, i, "enumerator", f"{used[token]}::{other}")
            elif token == "Stamp" and self.tokens[i + 1] == "::":
                self.marker(i)
            elif token in ("++", "--") and not self.statement_begins(i):
                self.step(i)
            elif token == "!" and not self.masked[self.ends[i]].isspace():
                self.negation(i)
            elif token == "return":
                self.returned(i)
        # What is true, and false, everywhere leaves no room for the turned operator.
        conditions = {(m.start, m.end) for m in self.mutants if m.operator in ("condition", "returned")}
        self.mutants = [
            m for m in self.mutants
            if not ((m.start, m.end) in conditions and m.operator in ("operator", "negation dropped")
                    and not is_boundary(m))]
        seen = {}
        for mutant in self.mutants:
            mutant.nth = seen.get(mutant.key, 0)
            seen[mutant.key] = mutant.nth + 1
        return self.mutants

    # ---- the kinds of mutation ----

    def statement(self, i):
        token = self.tokens[i]
        if token in ("break", "continue"):
            self.add(i, i + 1, "statement dropped", "", statement=True)
            return
        end = self.statement_end(i)
        if end is None or token in STATEMENT_KEYWORDS:
            return
        if not self.is_postfix_expression(i, end - 1):
            return
        self.add(i, end, "statement dropped", "", statement=True)
        if token in ("++", "--"):
            other = "--" if token == "++" else "++"
            self.add(i, end, "step turned", other + self.span(i + 1, end), statement=True)
        for j in range(i, end):
            if self.tokens[j] in ("+=", "-=", "|="):
                other = {"+=": "-=", "-=": "+=", "|=": "&="}[self.tokens[j]]
                self.add(i, end, "assignment turned",
                         self.span(i, j - 1) + f" {other} " + self.span(j + 1, end), statement=True)

    def condition(self, i):
        if self.tokens[i + 1] != "(":
            return
        first, last = i + 2, self.match[i + 1] - 1
        parts = [first]
        j = first
        while j <= last:
            if self.tokens[j] in ("(", "[", "{"):
                j = self.match[j]
            elif self.tokens[j] == ";":
                parts.append(j + 1)
            j += 1
        if self.tokens[i] == "for":
            if len(parts) != 3 or parts[1] == parts[2] - 1:
                return
            first, last = parts[1], parts[2] - 2
        else:
            first = parts[-1]
        j = first
        while j <= last:
            if self.tokens[j] in ("(", "[", "{"):
                j = self.match[j]
            elif self.tokens[j] in ASSIGNMENTS:
                return  # a declaration
            j += 1
        if self.span(first, last) in ("true", "false"):
            return
        self.add(first, last, "condition", "false")
        if self.tokens[i] == "if":
            self.add(first, last, "condition", "true")

    def ternary(self, i):
        first = self.left_of(i, -1)
        self.add(first, i - 1, "condition", "true")
        self.add(first, i - 1, "condition", "false")

    def binary(self, i):
        token = self.tokens[i]
        first, last = self.left_of(i, PRECEDENCE[token]), self.right_of(i, PRECEDENCE[token])
        if first >= i or last <= i or self.tokens[first] in ("out", "std") and token in ("<<", ">>"):
            return
        left, right = self.span(first, i - 1), self.span(i + 1, last)
        if token in ("&&", "||"):
            self.add(first, last, "operand dropped", left)
            self.add(first, last, "operand dropped", right)
            return
        for other in OPERATORS[token]:
            self.add(first, last, "operator", f"{left} {other} {right}")

    def number(self, i):
        if self.tokens[i] == "0" and self.tokens[i - 1] in ("==", "!="):
            return
        if self.tokens[i - 1] in ("{", "<") or self.tokens[i + 1] in (">",) and not self.is_binary(i + 1):
            return
        value = self.tokens[i].rstrip("U")
        self.add(i, i, "off by one", str(int(value.replace("'", "")) + 1) + self.tokens[i][len(value):])

    def min_max(self, i):
        j = i + 1
        if self.tokens[j] == "<":
            depth = 0
            while True:
                depth += {"<": 1, ">": -1, ">>": -2}.get(self.tokens[j], 0)
                j += 1
                if depth <= 0:
                    break
        if self.tokens[j] != "(" or self.match[j] == j + 1:  # numeric_limits::max()
            return
        other = "max" if self.tokens[i] == "min" else "min"
        self.add(i - 2, self.match[j], "min and max", f"std::{other}" + self.span(i + 1, self.match[j]))

    def order(self, i):
        j, depth = i, 0
        while j > 0:
            if self.tokens[j] == ")":
                depth += 1
            elif self.tokens[j] == "(":
                depth -= 1
                if depth < 0:
                    break
            j -= 1
        access = self.tokens[j - 1]
        kind = access if access in ("load", "store") else ""
        name = self.tokens[i].removeprefix("memory_order_")
        for weaker in WEAKER[kind].get(name, []):
            self.add(i - 2, i, "order", f"std::memory_order_{weaker}")

    def used_enumerators(self):
        """Those that can be named without their enumeration, and which that is."""
        return {name: enumeration
                for enumeration in re.findall(r"using enum (\w+);", self.masked)
                for name in self.enumerators.get(enumeration, ())}

    def is_unqualified_enumerator(self, i):
        return self.tokens[i - 1] not in ("::", "case", ".", "->") and self.tokens[i + 1] != "::"

    def enumerator(self, i):
        names = self.enumerators[self.tokens[i]]
        name = self.tokens[i + 2]
        if name not in names or len(names) < 2:
            return
        other = names[(names.index(name) + 1) % len(names)]
        first = i
        while self.tokens[first - 1] == "::":
            first -= 2
        self.add(first, i + 2, "enumerator", self.span(first, i + 1) + other)

    def marker(self, i):
        names = ["never_used", "vacant", "moved"]
        name = self.tokens[i + 2]
        if name in names and self.tokens[i + 3:i + 5] == ["(", ")"]:
            other = names[(names.index(name) + 1) % 3]
            self.add(i, i + 4, "enumerator", f"Stamp::{other}()")

    def step(self, i):
        if self.tokens[i - 1] in (";", ",", ")") and self.tokens[i - 1] != ")":
            return  # of a for
        if re.match(r"[A-Za-z_]", self.tokens[i + 1]):  # prefix
            j = i + 1
            if self.tokens[i - 1] in ("return", "(", "=", "!", "&&", "||", "?", ":"):
                self.add(i, j, "step dropped", self.span(j, j))
        elif re.match(r"[A-Za-z_]", self.tokens[i - 1]):  # postfix
            self.add(i - 1, i, "step dropped", self.span(i - 1, i - 1))

    def negation(self, i):
        j = i + 1
        if self.tokens[j] == "(":
            j = self.match[j] + 1
        else:
            j += 1
        while self.tokens[j] in (".", "->", "(", "[", "::"):
            if self.tokens[j] in ("(", "["):
                j = self.match[j] + 1
            else:
                j += 2
        self.add(i, j - 1, "negation dropped", f"static_cast<bool>({self.span(i + 1, j - 1)})")

    def returned(self, i):
        at = self.context[i]
        while at is not None and self.kind[at] in ("block", "init"):
            at = self.context[at]
        if at is None or not self.function_of.get(at, ("", False))[1]:
            return
        end = self.statement_end(i)
        if end is None or end == i + 1 or self.span(i + 1, end - 1) in ("true", "false"):
            return
        if self.function_of[at][0].startswith("operator<<"):
            return
        for value in ("true", "false"):
            self.add(i + 1, end - 1, "returned", value)


def is_boundary(mutant):
    """Whether it moves a comparison's boundary by one: `<` to `<=` and so on."""
    def comparison(text):
        return [t for t in TOKEN.findall(mask(text)) if t in ("<", "<=", ">", ">=")]
    before, after = comparison(mutant.before), comparison(mutant.replacement)
    return any(b.rstrip("=") == a.rstrip("=") and b != a for b, a in zip(before, after))


def mask(text):
    """The text with comments, attributes, string contents and preprocessor lines blanked, of equal length."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group())

    def blank_string(match):
        return '"' + " " * (len(match.group()) - 2) + '"'

    text = re.sub(r"//[^\n]*|\[\[[a-z]+\]\]|/\*.*?\*/", blank, text, flags=re.S)
    text = re.sub(r'"(?:[^"\\\n]|\\.)*"', blank_string, text)
    text = re.sub(r"'(?:[^'\\\n]|\\.)'", lambda m: " c" + " " * (len(m.group()) - 2), text)
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", blank, text, flags=re.M)


def enumerators_of(texts):
    found = {}
    for text in texts:
        for match in re.finditer(r"enum class (\w+)[^{;]*\{([^}]*)\}", mask(text)):
            names = re.findall(r"(\w+)\s*(?:=[^,]*)?(?:,|$)", match.group(2).strip())
            found[match.group(1)] = names
    return found


def render(header, mutants):
    """The header with all the mutants in it; a span in another one is rendered inside it."""
    spans = {}
    for mutant in mutants:
        spans.setdefault((mutant.start, mutant.end, mutant.statement), []).append(mutant)
    # The outermost first; a statement's dropping is outside of an expression of the same extent.
    order = sorted(spans, key=lambda s: (s[0], -s[1], not s[2]))
    root = []
    stack = [(0, len(header.text), root)]
    dropped = []
    for span in order:
        while stack[-1][1] <= span[0]:
            stack.pop()
        if span[1] > stack[-1][1]:
            dropped += spans[span]
            continue
        children = []
        stack[-1][2].append((span, children))
        stack.append((span[0], span[1], children))

    pieces = []      # the text
    where = []       # (from, to, mutant) in it
    length = 0

    def put(text):
        nonlocal length
        pieces.append(text)
        length += len(text)

    def content(start, end, children):
        at = start
        for (first, last, statement), inner in children:
            put(header.text[at:first])
            these = spans[(first, last, statement)]
            if statement:
                put("{")
                for mutant in these:
                    begin = length
                    put(f"if (placement_mutation::on({mutant.number})) {{ {mutant.replacement} }} else ")
                    where.append((begin, length, mutant))
                put("{ ")
                content(first, last, inner)
                put(" }}")
            else:
                # A condition may be of any type that converts to bool.
                cast = ""
                if {m.operator for m in these} & {"condition", "operand dropped", "returned"}:
                    cast = "static_cast<bool>"
                put("(")
                for mutant in these:
                    begin = length
                    put(f"placement_mutation::on({mutant.number}) ? {cast}({mutant.replacement}) : ")
                    where.append((begin, length, mutant))
                put(f"{cast}(")
                content(first, last, inner)
                put("))")
            # for errors that are reported at the closing
            where.append((length - 2, length, these[-1]))
            at = last
        put(header.text[at:end])

    content(0, len(header.text), root)
    return "".join(pieces), where, dropped


def apply(header, mutant):
    """The header with that mutant alone."""
    return header.text[:mutant.start] + mutant.replacement + header.text[mutant.end:]
