"""What a folder of Parquet files holds, and its files as tables of one schema."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from largesse.errors import DataError, SchemaError

__all__ = ["cast_to", "one_schema", "parquet_files"]


def parquet_files(path: Path) -> list[Path]:
    """Returns a Parquet file, or all in a folder by name; what begins with ``_`` or ``.`` holds no data.

    Raises:
        DataError: The folder holds none.
    """
    if not path.is_dir():
        return [path]
    files = sorted(path.rglob("*.parquet"))
    files = [f for f in files if f.is_file() and not any(part[0] in "_." for part in f.relative_to(path).parts)]
    if not files:
        raise DataError(f"{path}: holds no .parquet file. Check the folder.", field=str(path))
    return files


def one_schema(schemas: Sequence[tuple[Path, pa.Schema]]) -> pa.Schema:
    """Returns the schema to which all files of a folder can be cast: order, nullability, width and dictionaries may differ.

    Raises:
        SchemaError: A column is missing from a file, or holds something else there.
    """
    first, common = schemas[0]
    common = pa.schema([pa.field(f.name, _value_type(f.type)) for f in common])
    for file, schema in schemas[1:]:
        if set(schema.names) != set(common.names):
            odd = sorted(set(schema.names) ^ set(common.names))
            where = file if odd[0] in common.names else first
            raise SchemaError(
                f"{where}: column {odd[0]!r} is missing, which {first if where == file else file} has ({len(odd)} such columns). "
                "Write all files with the same columns.", field=odd[0],
            )  # fmt: skip
        own = {f.name: _value_type(f.type) for f in schema}
        for k, name in enumerate(common.names):
            if own[name] == common.field(k).type:
                continue
            try:
                both = [pa.schema([pa.field(name, kind)]) for kind in (common.field(k).type, own[name])]
                common = common.set(k, pa.unify_schemas(both, promote_options="permissive").field(0))
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raise SchemaError(
                    f"{file}: column {name!r} holds {own[name]}, but {common.field(k).type} in {first.name}. "
                    "Write it with one type in all files.", field=name,
                ) from error  # fmt: skip
    return common


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def cast_to(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Returns a table with the columns of a schema, in its order and of its types."""
    if table.schema.remove_metadata().equals(schema):
        return table
    columns = []
    for field in schema:
        column = table[field.name]
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        columns.append(column.cast(field.type))
    return pa.table(columns, schema=pa.schema([pa.field(f.name, f.type) for f in schema]))
