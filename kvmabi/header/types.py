"""Tokens -> types: specifiers, structs, unions, enums and declarators.

The docstring of each method is the grammar rule that it reads.
"""

from __future__ import annotations

from dataclasses import dataclass

from kvmabi.header import syntax
from kvmabi.header.attributes import AttributeParser
from kvmabi.header.cursor import MAX_DEPTH
from kvmabi.header.lexer import IDENT, Token
from kvmabi.header.specifiers import (
    ALIGN_WORDS,
    ASM_WORDS,
    ATTRIBUTE_WORDS,
    BASIC_WORDS,
    IGNORED_WORDS,
    STATIC_ASSERTS,
    TYPEOF_WORDS,
    basic_type,
)

_RECORD_WORDS = frozenset({"struct", "union"})
_TYPE_STARTS = (
    BASIC_WORDS | _RECORD_WORDS | TYPEOF_WORDS | {"enum"}
    | (IGNORED_WORDS - {"static", "extern", "inline", "register", "auto", "__extension__"})
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Specifiers:
    """What stands before the declarators; `typedef` is whether they name types."""

    type: syntax.TypeSyntax
    attributes: tuple[syntax.Attribute, ...]
    typedef: bool


@dataclass(frozen=True, slots=True)
class Declarator:
    """One declared name (None in a type name) with its whole type."""

    name: str | None
    type: syntax.TypeSyntax
    attributes: tuple[syntax.Attribute, ...]
    at: Token


class TypeParser(AttributeParser):
    """Reads types; `typedefs` are the type names known so far."""

    __slots__ = ("typedefs",)

    def __init__(self, tokens: list[Token], end: Token, typedefs: set[str] | None = None) -> None:
        super().__init__(tokens, end)
        self.typedefs = set() if typedefs is None else typedefs

    # Specifiers.

    def at_type(self, ahead: int = 0) -> bool:
        """Whether a type name comes next."""
        if self.peek_kind(ahead) != IDENT:
            return False
        text = self.peek(ahead)
        return text in _TYPE_STARTS or text in self.typedefs

    def specifiers(self) -> Specifiers:
        """specifiers: (qualifier | word | typedef-name | record | enum | typeof | attribute)+"""
        words: list[str] = []
        attributes: list[syntax.Attribute] = []
        found: syntax.TypeSyntax | None = None
        typedef = False
        start = self.at
        while self.peek_kind() == IDENT:
            text = self.peek()
            if text == "typedef":
                self.take()
                typedef = True
            elif text in ATTRIBUTE_WORDS or text in ALIGN_WORDS:
                attributes += self.attributes()
            elif text in IGNORED_WORDS:
                self.take()
            elif text in BASIC_WORDS:
                words.append(self.take().text)
            elif found is not None or words:
                break
            else:
                found = self._named_type()
                if found is None:
                    break
        kind = self._one_type(words, found, start)
        return Specifiers(kind, tuple(attributes), typedef)

    def _named_type(self) -> syntax.TypeSyntax | None:
        text = self.peek()
        if text in _RECORD_WORDS:
            return self._record()
        if text == "enum":
            return self._enum()
        if text in TYPEOF_WORDS:
            at = self.take()
            self.skip_balanced()
            return syntax.UnknownType("typeof", at)
        if text in self.typedefs:
            return syntax.TypedefName(text, self.take())
        return None

    def _one_type(
        self, words: list[str], found: syntax.TypeSyntax | None, start: Token
    ) -> syntax.TypeSyntax:
        if found is not None and words:
            raise start.error(f"two types in one declaration: {' '.join(words)} and another")
        if found is not None:
            return found
        if not words:
            if self.peek_kind() == IDENT:
                self.fail("unknown type name")
            self.fail("expected a declaration")
        name = basic_type(words)
        if name is None:
            raise start.error(f"{' '.join(words)} is no type")
        return syntax.Basic(name)

    # Records and enums.

    def _record(self) -> syntax.RecordSyntax:
        """record: ("struct" | "union") attribute* tag? ("{" field* "}")? attribute*"""
        at = self.take()
        attributes = self.attributes()
        tag = self.take().text if self.peek_kind() == IDENT else None
        fields: tuple[syntax.FieldSyntax, ...] | None = None
        if self.peek() == "{":
            fields = self._fields()
            attributes += self.attributes()
        elif tag is None:
            self.fail(f"expected a tag or a {{ behind {at.text}")
        return syntax.RecordSyntax(at.text, tag, fields, tuple(attributes), at)

    def _fields(self) -> tuple[syntax.FieldSyntax, ...]:
        """fields: "{" (field-declaration | static-assert | ";")* "}" """
        opened = self.expect("{")
        self.deeper()
        fields: list[syntax.FieldSyntax] = []
        while not self.accept("}"):
            if self.done:
                raise opened.error("this '{' is never closed")
            if self.peek() in STATIC_ASSERTS:
                self.take()
                self.skip_balanced()
            elif not self.accept(";"):
                self._field_declaration(fields)
        self.higher()
        return tuple(fields)

    def _field_declaration(self, fields: list[syntax.FieldSyntax]) -> None:
        """field-declaration: specifiers (field ("," field)*)? ";" """
        at = self.at
        specifiers = self.specifiers()
        if specifiers.typedef:
            raise at.error("a typedef cannot stand in a record")
        if self.peek() == ";":
            fields.append(
                syntax.FieldSyntax(None, specifiers.type, None, specifiers.attributes, at)
            )
        while self.peek() != ";":
            fields.append(self._field(specifiers))
            if not self.accept(","):
                break
        self.expect(";")

    def _field(self, specifiers: Specifiers) -> syntax.FieldSyntax:
        """field: declarator? (":" expression)? attribute*"""
        if self.peek() == ":":
            declarator = Declarator(None, specifiers.type, (), self.at)
        else:
            declarator = self.declarator(specifiers.type)
            if declarator.name is None:
                self.fail("expected the name of a field")
        width = self.expression() if self.accept(":") else None
        attributes = (*specifiers.attributes, *declarator.attributes, *self.attributes())
        return syntax.FieldSyntax(
            declarator.name, declarator.type, width, attributes, declarator.at
        )

    def _enum(self) -> syntax.EnumSyntax:
        """enum: "enum" attribute* tag? ("{" (enumerator ",")* enumerator? "}")? attribute*"""
        at = self.take()
        attributes = self.attributes()
        tag = self.take().text if self.peek_kind() == IDENT else None
        enumerators: list[syntax.EnumeratorSyntax] | None = None
        if self.accept("{"):
            enumerators = []
            while not self.accept("}"):
                enumerators.append(self._enumerator())
                if self.peek() != "}":
                    self.expect(",")
            attributes += self.attributes()
        elif tag is None:
            self.fail("expected a tag or a { behind enum")
        listed = None if enumerators is None else tuple(enumerators)
        return syntax.EnumSyntax(tag, listed, tuple(attributes), at)

    def _enumerator(self) -> syntax.EnumeratorSyntax:
        """enumerator: name attribute* ("=" expression)?"""
        at = self.at
        if at.kind != IDENT or self.done:
            self.fail("expected an enumerator")
        self.take()
        self.attributes()
        value = self.expression() if self.accept("=") else None
        return syntax.EnumeratorSyntax(at.text, value, at)

    # Declarators.

    def type_name(self) -> syntax.TypeSyntax:
        """type-name: specifiers declarator(without a name)"""
        specifiers = self.specifiers()
        declarator = self.declarator(specifiers.type)
        if declarator.name is not None:
            raise declarator.at.error("a type name names nothing")
        attributes = specifiers.attributes + declarator.attributes
        return syntax.AlignedSyntax(declarator.type, attributes) if attributes else declarator.type

    def declarator(self, base: syntax.TypeSyntax) -> Declarator:
        """declarator: ("*" qualifier*)* (name | "(" declarator ")")? suffix* asm? attribute*"""
        attributes: list[syntax.Attribute] = []
        stars = 0
        while True:
            if self.peek() == "*":
                star = self.take()
                stars += 1
                if stars > MAX_DEPTH:
                    raise star.error(f"more than {MAX_DEPTH} pointers to pointers")
                base = syntax.PointerSyntax(base)
            elif self.peek() in IGNORED_WORDS:
                self.take()
            elif self.peek() in ATTRIBUTE_WORDS:
                attributes += self.attributes()
            else:
                break
        at = self.at
        if self.peek() == "(" and self._nested_declarator():
            return self._grouped(base, attributes)
        name = self.take().text if self.peek_kind() == IDENT else None
        type_ = self._suffixes(base)
        if self.peek() in ASM_WORDS:
            self.take()
            self.skip_balanced()
        attributes += self.attributes()
        return Declarator(name, type_, tuple(attributes), at)

    def _nested_declarator(self) -> bool:
        if self.peek(1) in ("*", "(", "[") or self.peek(1) in ATTRIBUTE_WORDS:
            return True
        return self.peek_kind(1) == IDENT and not self.at_type(1)

    def _grouped(self, base: syntax.TypeSyntax, attributes: list[syntax.Attribute]) -> Declarator:
        """grouped: "(" declarator ")" suffix*; the suffixes bind first, so they are read first."""
        opened = self._next
        self.skip_balanced()
        outer = self._suffixes(base)
        attributes += self.attributes()
        behind, self._next = self._next, opened + 1
        self.deeper()
        inner = self.declarator(outer)
        self.higher()
        self.expect(")")
        self._next = behind
        return Declarator(inner.name, inner.type, (*attributes, *inner.attributes), inner.at)

    def _suffixes(self, base: syntax.TypeSyntax) -> syntax.TypeSyntax:
        """suffix: "[" qualifier* expression? "]" | "(" parameters ")" """
        if self.peek() == "(":
            self.skip_balanced()
            return syntax.FunctionSyntax(base)
        sizes: list[tuple[syntax.Expression | None, Token]] = []
        while self.peek() == "[":
            at = self.take()
            while self.peek() in IGNORED_WORDS:
                self.take()
            sizes.append((None if self.peek() == "]" else self.comma_expression(), at))
            self.expect("]")
            if len(sizes) > 30:
                raise at.error("an array of more than 30 dimensions")
        for size, at in reversed(sizes):
            base = syntax.ArraySyntax(base, size, at)
        return base
