"""The expression language of selection rules: parsed here, never executed as Python.

Numbers, `'strings'`, names of columns, `+ - * /`, comparisons, `in ('en', 'fr')`, `and or not` (looser than
comparisons), functions with arguments by place or by name, and named filters. Every error points at the column of the
text where it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from datacomp.problems import BadInput
from datacomp.text import printable

LONGEST = 10_000
DEEPEST = 50
"""Parentheses and function calls inside one another."""
LONGEST_CHAIN = 200
"""Operators that hang on one another (`a or b or c ...`, `not not ...`): what evaluates them recurses over them."""
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<string>'[^']*'|\"[^\"]*\")|(?P<sign><=|>=|==|!=|[-+*/()<>,=]))"
)
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
WORDS = frozenset({"and", "or", "not", "in"})
"""Words that name no column."""


@dataclass(frozen=True)
class Node:
    """A part of an expression; `at` is its column in the text, from 0."""

    at: int


@dataclass(frozen=True)
class Number(Node):
    """A number."""

    value: float


@dataclass(frozen=True)
class Text(Node):
    """A quoted string."""

    value: str


@dataclass(frozen=True)
class Name(Node):
    """A column, or `score`."""

    name: str


@dataclass(frozen=True)
class Unary(Node):
    """`-x` or `not x`."""

    sign: str
    operand: Node


@dataclass(frozen=True)
class Binary(Node):
    """Two operands and what joins them."""

    sign: str
    left: Node
    right: Node


@dataclass(frozen=True)
class Among(Node):
    """Whether a value is one of some numbers or strings."""

    value: Node
    options: tuple[Number | Text, ...]


@dataclass(frozen=True)
class Keyword(Node):
    """An argument given by name."""

    name: str
    value: Node


@dataclass(frozen=True)
class Call(Node):
    """A function applied, or a named filter with its parameters."""

    function: str
    arguments: tuple[Node, ...]
    keywords: tuple[Keyword, ...] = ()


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int


def error_at(text: str, at: int, message: str, hint: str | None = None) -> BadInput:
    """The error of a place in an expression."""
    return BadInput.of("rule-invalid", message, where=f"column {at + 1} of: {printable(text)}", hint=hint)


def parse(text: str) -> Node:
    """The tree of an expression. `BadInput` points at what does not belong."""
    if len(text) > LONGEST:
        raise BadInput.of("rule-too-long", f"an expression has at most {LONGEST:,} characters, this has {len(text):,}")
    for at, character in enumerate(text):
        if not character.isprintable() and character not in "\t\r\n":
            raise error_at(text, at, f"unexpected {character!r}", "write the rule as plain text")
    node = _Parser(text).whole()
    _require_shallow(text, node)
    return node


def _require_shallow(text: str, node: Node) -> None:
    layer, depth = [node], 0
    while layer:
        if depth > LONGEST_CHAIN:
            hint = "split the rule, or compute the score in Python"
            raise error_at(text, layer[0].at, f"more than {LONGEST_CHAIN} operators hang on one another", hint)
        layer = [part for each in layer for part in _parts(each)]
        depth += 1


def _parts(node: Node) -> tuple[Node, ...]:
    match node:
        case Unary():
            return (node.operand,)
        case Binary():
            return (node.left, node.right)
        case Among():
            return (node.value,)
        case Keyword():
            return (node.value,)
        case Call():
            return (*node.arguments, *node.keywords)
    return ()


def names(node: Node) -> Iterator[Name]:
    """Every name in a tree."""
    for part in walk(node):
        if isinstance(part, Name):
            yield part


def walk(node: Node) -> Iterator[Node]:
    """A node and everything below it."""
    yield node
    for part in _parts(node):
        yield from walk(part)


def is_choice(node: Node) -> bool:
    """Whether a tree may say which rows are kept, or how often: it reads something."""
    return any(isinstance(part, Name | Call) for part in walk(node))


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(self._split())
        self.place = 0
        self.depth = 0

    def _split(self) -> Iterator[_Token]:
        at = 0
        end = len(self.text.rstrip())
        while at < end:
            found = _TOKEN.match(self.text, at)
            if found is None:
                while self.text[at].isspace():
                    at += 1
                raise error_at(self.text, at, f"unexpected {self.text[at]!r}")
            kind = str(found.lastgroup)
            yield _Token(kind, found.group(kind), found.start(kind))
            at = found.end()
        yield _Token("end", "", len(self.text))

    @property
    def now(self) -> _Token:
        return self.tokens[self.place]

    def take(self, *texts: str) -> _Token | None:
        """The current token, passed, if it is one of these signs or words."""
        token = self.now
        if token.kind in {"sign", "name"} and token.text in texts:
            self.place += 1
            return token
        return None

    def whole(self) -> Node:
        node = self.disjunction()
        if self.now.kind != "end":
            hint = "compare by ==" if self.now.text == "=" else None
            raise error_at(self.text, self.now.at, f"unexpected {self.now.text!r}", hint)
        return node

    def disjunction(self) -> Node:
        self.depth += 1
        if self.depth > DEEPEST:
            raise error_at(self.text, self.now.at, f"nested more than {DEEPEST} deep")
        node = self.conjunction()
        while token := self.take("or"):
            node = Binary(token.at, "or", node, self.conjunction())
        self.depth -= 1
        return node

    def conjunction(self) -> Node:
        node = self.negation()
        while token := self.take("and"):
            node = Binary(token.at, "and", node, self.negation())
        return node

    def negation(self) -> Node:
        signs = []
        while token := self.take("not"):
            signs.append(token)
        node = self.comparison()
        for token in reversed(signs):
            node = Unary(token.at, "not", node)
        return node

    def comparison(self) -> Node:
        node = self.sum()
        if token := self.take(*COMPARISONS):
            node = Binary(token.at, token.text, node, self.sum())
            if self.now.text in COMPARISONS:
                raise error_at(self.text, self.now.at, "comparisons do not chain", "join them with `and`")
            return node
        return self.membership(node)

    def membership(self, value: Node) -> Node:
        """`in (...)` or `not in (...)` behind a value, or the value alone."""
        after = self.tokens[min(self.place + 1, len(self.tokens) - 1)]
        outside = self.take("not") if after.kind == "name" and after.text == "in" else None
        token = self.take("in")
        if token is None:
            return value
        if not self.take("("):
            raise error_at(self.text, self.now.at, "a list is needed here", "write lang in ('en', 'fr')")
        options = [self.literal()]
        while self.take(","):
            options.append(self.literal())
        self.close()
        among = Among(token.at, value, tuple(options))
        return Unary(outside.at, "not", among) if outside else among

    def literal(self) -> Number | Text:
        node = self.signed()
        if isinstance(node, Unary) and isinstance(node.operand, Number):
            return Number(node.at, -node.operand.value)
        if not isinstance(node, Number | Text):
            raise error_at(self.text, node.at, "a number or a quoted text is needed here")
        return node

    def sum(self) -> Node:
        node = self.product()
        while token := self.take("+", "-"):
            node = Binary(token.at, token.text, node, self.product())
        return node

    def product(self) -> Node:
        node = self.signed()
        while token := self.take("*", "/"):
            node = Binary(token.at, token.text, node, self.signed())
        return node

    def signed(self) -> Node:
        signs = []
        while token := self.take("-"):
            signs.append(token)
        node = self.atom()
        for token in reversed(signs):
            node = Unary(token.at, "-", node)
        return node

    def atom(self) -> Node:
        token = self.now
        if token.kind == "end":
            raise error_at(self.text, token.at, "the expression ends too early")
        self.place += 1
        if token.kind == "number":
            return Number(token.at, float(token.text))
        if token.kind == "string":
            return Text(token.at, token.text[1:-1])
        if token.kind == "name" and token.text not in WORDS:
            return self.call(token) if self.take("(") else Name(token.at, token.text)
        if token.text == "(":
            node = self.disjunction()
            self.close()
            return node
        raise error_at(self.text, token.at, f"unexpected {token.text!r}")

    def call(self, name: _Token) -> Node:
        arguments: list[Node] = []
        keywords: list[Keyword] = []
        if not self.take(")"):
            self.argument(arguments, keywords)
            while self.take(","):
                self.argument(arguments, keywords)
            self.close()
        return Call(name.at, name.text, tuple(arguments), tuple(keywords))

    def argument(self, arguments: list[Node], keywords: list[Keyword]) -> None:
        """One argument, added to those before."""
        token = self.now
        if token.kind == "name" and token.text not in WORDS and self.tokens[self.place + 1].text == "=":
            self.place += 2
            if any(keyword.name == token.text for keyword in keywords):
                raise error_at(self.text, token.at, f"{token.text!r} is given twice")
            keywords.append(Keyword(token.at, token.text, self.disjunction()))
            return
        if keywords:
            raise error_at(self.text, token.at, "an argument without a name follows one with a name")
        arguments.append(self.disjunction())

    def close(self) -> None:
        if not self.take(")"):
            raise error_at(self.text, self.now.at, "a closing parenthesis is missing")
