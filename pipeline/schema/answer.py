"""The fulfilled answer of buy/status, declared once: each documented key, the kind of its value, and its column.

The declaration generates the structures by which DuckDB reads an answer, the fields of `fulfilled_results`, the
problems of values of another kind, the keys that count as known, and the columns of pulls.
The API may leave any key out or send null, so no column of it is required.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from pipeline.schema.table import MONEY, Column


class Kind(Enum):
    """The kind of value that belongs to a key, which decides how the value is read."""

    TEXT = "text"
    ID = "text with a visible character, which every item needs"
    PRICE = "a number, or text with a number in it"
    VALUE = "any JSON, kept as text"
    OBJECT = "an object"
    ITEMS = "a list of objects"
    ATTRIBUTES = "a list of objects, or one object whose keys name the traits"
    UNREAD = "known, but not read into tables"


_TYPES = {Kind.TEXT: "VARCHAR", Kind.ID: "VARCHAR", Kind.PRICE: MONEY}


@dataclass(frozen=True)
class Field:
    """A documented key of an object.

    `column` is the column of `pulls` or `purchases` that shows the value, `description` describes that column.
    An item of `fulfilled_results` has the fields of nested objects as its own, unless the object `is_struct`.
    """

    key: str
    kind: Kind
    column: str = ""
    description: str = ""
    fields: tuple[Field, ...] = ()
    is_struct: bool = False

    @property
    def type(self) -> str:
        """The DuckDB type of the value as `fulfilled_results` keeps it."""
        return struct_of(self) if self.is_struct else _TYPES[self.kind]


_ATTRIBUTES = Field(
    "attributes",
    Kind.ATTRIBUTES,
    fields=(
        # The first of these that is text names the trait.
        Field("trait_type", Kind.TEXT),
        Field("traitType", Kind.TEXT),
        Field("key", Kind.TEXT),
        Field("name", Kind.TEXT),
        Field("value", Kind.VALUE),
    ),
)
METADATA = Field(
    "metadata",
    Kind.OBJECT,
    fields=(
        Field("name", Kind.TEXT, "name", "The item's name"),
        Field("image", Kind.TEXT, "image_url", "Front image: metadata.image, else links.image"),
        Field("back_image", Kind.TEXT, "back_image_url", "Back image: metadata.back_image, else links.back_image"),
        _ATTRIBUTES,
    ),
)
_LINKS = Field("links", Kind.OBJECT, fields=(Field("image", Kind.TEXT), Field("back_image", Kind.TEXT)), is_struct=True)
ITEM = Field(
    "nfts",
    Kind.ITEMS,
    fields=(
        Field("id", Kind.ID, "item_id", "The item: its mint address when on-chain, else the listing's id"),
        Field("type", Kind.TEXT, "item_type", "Source of the item as sent: enft, ebay, fanatics, alt, external or new"),
        Field("buyback_price", Kind.PRICE, "buyback_price_usd", "Quote; NULL if absent or unreadable"),
        Field("mint_address", Kind.TEXT, "mint_address", "On-chain mint address"),
        Field("collection_address", Kind.TEXT, "collection_address", "On-chain collection address"),
        Field("token_standard", Kind.TEXT, "token_standard", "Token standard of an on-chain item"),
        Field("content", Kind.OBJECT, fields=(METADATA, _LINKS)),
    ),
)
RESULT = Field(
    "result",
    Kind.OBJECT,
    fields=(
        Field("session_id", Kind.UNREAD),  # compared with the session that was polled when the answer came
        Field("user_id", Kind.TEXT, "user_id", "The answer's user"),
        Field("public_id", Kind.TEXT, "public_id", "Short shareable transaction identifier"),
        Field("tx_hash", Kind.TEXT, "tx_hash", "Transaction hash of the mint"),
        ITEM,
    ),
)
ANSWER = Field("$", Kind.OBJECT, fields=(RESULT, Field("status", Kind.UNREAD), Field("error", Kind.UNREAD)))
ENVELOPE = tuple(field.key for field in ANSWER.fields)

Place = tuple[str, ...]


def columns_of(owner: Field) -> tuple[Column, ...]:
    """The columns that show the object's own fields, in the order of the fields."""
    return tuple(Column(f.column, f.type, f.description) for f in owner.fields if f.column)


def leaves(owner: Field, at: Place = ()) -> Iterator[tuple[Place, Field]]:
    """The values below an object with their keys from there, those of nested objects among them.

    Lists are not entered: a list is a value.
    """
    for field in owner.fields:
        if field.kind is Kind.OBJECT:
            yield from leaves(field, (*at, field.key))
        elif field.kind is not Kind.UNREAD:
            yield (*at, field.key), field


def kept_fields(owner: Field, at: Place = ()) -> Iterator[tuple[Place, Field]]:
    """The fields of an item as `fulfilled_results` keeps it, with their keys from the item on.

    Attributes have a column of their own.
    """
    for field in owner.fields:
        if field.kind is Kind.OBJECT and not field.is_struct:
            yield from kept_fields(field, (*at, field.key))
        elif field.kind is not Kind.ATTRIBUTES:
            yield (*at, field.key), field


def struct_of(owner: Field) -> str:
    """The DuckDB type of an item, or of an object in it, as `fulfilled_results` keeps it."""
    members = ", ".join(f'"{field.key}" {field.type}' for _, field in kept_fields(owner))
    return f"STRUCT({members})"


def fields_below(owner: Field) -> Iterator[Field]:
    """All fields below an object, at whatever depth, in the order of the declaration."""
    for field in owner.fields:
        yield field
        yield from fields_below(field)


def objects() -> list[tuple[str, Field]]:
    """The documented objects of an answer with their JSON paths, outer ones first."""
    found: list[tuple[str, Field]] = [(ANSWER.key, ANSWER)]
    for path, owner in found:
        found += [(f"{path}.{field.key}{_entries(field)}", field) for field in owner.fields if field.fields]
    return found


def _entries(field: Field) -> str:
    return "[*]" if field.kind in (Kind.ITEMS, Kind.ATTRIBUTES) else ""
