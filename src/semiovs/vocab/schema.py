"""Schema of vocabulary files (docs/reference/vocabulary.md). Values are read as text, also ``no``, ``7`` and
``true``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationInfo, field_validator

from semiovs.errors import did_you_mean
from semiovs.vocab.colors import RGB, parse_hex
from semiovs.vocab.rules import RuleError, check_template

#: Named sets of templates; the empty one means the teacher's own (for CLIP: the 80 of ImageNet).
TEMPLATES: Mapping[str, tuple[str, ...]] = {"imagenet": (), "photo": ("a photo of a {}",), "plain": ("{}",)}


def _parse_word(value: Any) -> str:
    if isinstance(value, list | dict):
        raise ValueError("expected text" + ("; put '{}' in quotes" if value == {} else ""))
    if value is None or not value.strip():
        raise ValueError("empty; expected a word (null in quotes, if that is the word)")
    return str(value.strip())


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _parse_color(value: Any) -> RGB:
    if isinstance(value, str) and (color := parse_hex(value)):
        return color
    if isinstance(value, list) and len(value) == 3 and all(isinstance(p, str) and p.isdecimal() for p in value):
        red, green, blue = (int(part) for part in value)
        if max(red, green, blue) <= 255:
            return red, green, blue
    shown = f"[{', '.join(map(str, value))}]" if isinstance(value, list) else repr(value)
    raise ValueError(f"colour {shown}; expected [red, green, blue], each 0 to 255, or '#rrggbb' in quotes")


def _parse_template(text: str) -> str:
    try:
        check_template(text)
    except RuleError as error:
        raise ValueError(error.reason) from None
    return text


def _parse_templates(value: Any) -> Any:
    if not isinstance(value, str) or "{" in value:
        return _as_list(value)
    if value not in TEMPLATES:
        hint = did_you_mean(value, TEMPLATES)
        raise ValueError(f"'{value}' is neither a sentence with {{}} nor a known set{hint}")
    return list(TEMPLATES[value])


def _parse_entries(value: Any) -> Any:
    """Parse classes to a list of entries, from a list of names and entries, or a mapping of names to concepts or
    details.
    """
    if isinstance(value, list):
        return [item if isinstance(item, dict) else {"name": item} for item in value]
    if not isinstance(value, dict):
        raise ValueError("expected a list of class names, or a mapping 'name: concepts'")
    details = {name: item if isinstance(item, dict) else {"concepts": item} for name, item in value.items()}
    twice = next((name for name, item in details.items() if "name" in item), None)
    if twice is not None:
        raise ValueError(f"class '{twice}' has its name already; take 'name' away")
    return [{"name": name} | item for name, item in details.items()]


def _parse_background(value: Any) -> Any:
    if value is None or value == "none":
        return {}
    if not isinstance(value, dict):
        raise ValueError("expected concepts: [...], threshold: 0.4 or none")
    given = [value.get(key) is not None for key in ("concepts", "threshold")]
    if all(given) or not (any(given) or value.keys() - {"concepts", "threshold"}):
        raise ValueError("give either concepts or threshold")
    return value


def _require_mapping(example: str) -> BeforeValidator:
    def check(value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError(f"expected a mapping like {example}")
        return value

    return BeforeValidator(check)


def _index_by_id(value: Any) -> Any:
    if value == []:
        raise ValueError("expected one for each class, got none")
    return dict(enumerate(value)) if isinstance(value, list) else value


Word = Annotated[str, BeforeValidator(_parse_word)]
Words = Annotated[tuple[Word, ...], BeforeValidator(_as_list)]
Color = Annotated[RGB, BeforeValidator(_parse_color)]
Template = Annotated[Word, AfterValidator(_parse_template)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ClassEntry(_Section):
    """One class. concepts: None for its name."""

    name: Word
    concepts: Words | None = None
    color: Color | None = None


class Background(_Section):
    """Class 0: with its own `concepts`, with a constant score (`threshold`), or, with neither, a class like any
    other.
    """

    concepts: Words | None = None
    threshold: float | None = None


Classes = Annotated[tuple[ClassEntry, ...], BeforeValidator(_parse_entries)]


class VocabularyFile(_Section):
    """A whole file. colors: by class name, or by id where the file lists them in class order."""

    extends: Word | None = None
    classes: Classes = ()
    names: Classes = ()
    background: Annotated[Background, BeforeValidator(_parse_background)] | None = None
    templates: Annotated[tuple[Template, ...], BeforeValidator(_parse_templates)] = ()
    colors: Annotated[dict[int | str, Color], BeforeValidator(_index_by_id)] = {}
    ignore: Words = ()
    merge: Annotated[dict[Word, Words], _require_mapping("{vehicle: [car, bus]}")] = {}
    rename: Annotated[dict[str, Word], _require_mapping("{old name: new name}")] = {}

    @field_validator("names")
    @classmethod
    def _one_of_two(cls, value: Classes, info: ValidationInfo) -> Classes:
        if info.data.get("classes"):
            raise ValueError("another word for classes; give one of the two")
        return value


def list_known_keys(path: tuple[int | str, ...]) -> list[str]:
    """List the keys that are allowed at the place of `path`."""
    inner: dict[str, type[BaseModel]] = {"classes": ClassEntry, "names": ClassEntry, "background": Background}
    return list((inner.get(str(path[0]), VocabularyFile) if len(path) > 1 else VocabularyFile).model_fields)
