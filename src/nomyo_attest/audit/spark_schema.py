"""Arrow's types as Spark's, for the schemas of the audit."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from pyspark.sql import types


def spark_schema(fields: Any) -> types.StructType:
    """The fields of a `pyarrow` schema or struct as Spark's. Raises `KeyError` for a type that no result has."""
    return types.StructType([types.StructField(one.name, _spark_type(one.type), one.nullable) for one in fields])


def _spark_type(kind: Any) -> types.DataType:
    if pa.types.is_list(kind):
        return types.ArrayType(_spark_type(kind.value_type), containsNull=kind.value_field.nullable)
    if pa.types.is_struct(kind):
        return spark_schema(kind)
    simple: dict[Any, types.DataType] = {
        pa.string(): types.StringType(),
        pa.int64(): types.LongType(),
        pa.bool_(): types.BooleanType(),
    }
    return simple[kind]
