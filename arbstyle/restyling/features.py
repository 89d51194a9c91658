"""The schema of a table of pictures as Hugging Face ``datasets`` writes it, by its published layout.

Columns are described in the schema's metadata, so that a reader gets pictures and named classes back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from arbstyle.restyling.parts import LONGEST_LIST
from arbstyle.stored import read_json_object

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
LABEL = "label"


def features_of(schema: pa.Schema) -> dict[str, Any]:
    """What the metadata says of each column; nothing where there is none."""
    try:
        stored = (schema.metadata or {})[b"huggingface"].decode("utf-8")
        return dict(read_json_object(stored, LONGEST_LIST)["info"]["features"])
    except (KeyError, ValueError, TypeError):
        return {}


def schema_of(fields: Sequence[pa.Field], features: Mapping[str, Any]) -> pa.Schema:
    """Columns with their descriptions."""
    described = json.dumps({"info": {"features": dict(features)}})
    return pa.schema(fields, {"huggingface": described})


def picture_schema(
    columns: Sequence[pa.Field], classes: Sequence[str] = (), image: str = "image"
) -> pa.Schema:
    """Pictures first, then other columns; a label with class names where there are any."""
    features: dict[str, Any] = {image: {"_type": "Image"}}
    for column in columns:
        if column.name == LABEL and classes:
            features[LABEL] = {"names": list(classes), "_type": "ClassLabel"}
        else:
            features[column.name] = {"dtype": str(column.type), "_type": "Value"}
    return schema_of([pa.field(image, PICTURE), *columns], features)


def class_names(schema: pa.Schema) -> list[str] | None:
    """The names of the classes of the column ``label``."""
    feature = features_of(schema).get(LABEL)
    names = feature.get("names") if isinstance(feature, dict) else None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def picture_column(schema: pa.Schema) -> str | None:
    """The column that holds pictures: by its description, else by its type; "image" where several could."""
    described = [
        name
        for name, feature in features_of(schema).items()
        if isinstance(feature, dict) and feature.get("_type") == "Image"
    ]
    found = described or [field.name for field in schema if _holds_files(field.type)]
    return "image" if "image" in found else next(iter(found), None)


def _holds_files(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return {field.name for field in kind} == {"bytes", "path"}
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
