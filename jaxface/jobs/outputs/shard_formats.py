"""How a shard's results lie in one file: as Parquet or as array_record.

Parquet: one row per portrait with the columns of `results.jsonl`. ``w_plus`` is a list of
``L * w_dim`` float32 (row-major; ``w_plus_shape`` in the schema's metadata), null for a failure;
``reconstruction_png`` the PNG's bytes, if they are kept, and the other files of a result likewise
(`STORED_AS`); structured columns such as ``transform`` are JSON; ``settings`` and ``versions``,
which are the same in every row, are JSON in the schema's metadata.

array_record: one record per portrait, the bytes of a safetensors file: the tensors ``w_plus``
float32 [L, w_dim] and ``reconstruction_png`` uint8 [bytes], where there are any, and the row as
JSON in the metadata's ``row``.

Both are written piece by piece, so that a large shard is never in memory as a whole.
"""

import errno
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import safetensors.numpy

from jaxface.jobs.outputs.rows import COMMON, FILES, SHARED, Column, Result

W_PLUS = "w_plus"
STORED_AS = {"reconstruction": "reconstruction_png"} | {
    kind: f"{kind}_file" for kind in FILES if kind != "reconstruction"
}
"""The columns, or tensors, of a result's files, by their kinds."""
SUFFIXES = {"parquet": "parquet", "array_record": "array_record"}
"""Formats by name, with the file's suffix."""


class ShardWriter(Protocol):
    """Takes results in any number of pieces; both methods raise `OSError` on a full disk."""

    def append(self, results: Sequence[Result]) -> None: ...

    def close(self) -> None: ...


def shard_writer(
    path: str,
    kind: str,
    *,
    w_plus_shape: tuple[int, int],
    columns: Mapping[str, Column],
    files: Sequence[str] = ("reconstruction",),
) -> ShardWriter:
    """A writer of a local file.

    Args:
      path: the file, which must not exist.
      kind: one of `SUFFIXES`.
      w_plus_shape: (L, w_dim).
      columns: of the rows, beside those of all jobs.
      files: kinds of files that results may have.
    """
    if kind == "parquet":
        return _Parquet(path, w_plus_shape, columns, files)
    return _ArrayRecord(path)


def read_shard(path: str) -> Iterator[Result]:
    """The results in a local shard file, in their stored order, with the files that were kept."""
    return _read_parquet(path) if path.endswith(SUFFIXES["parquet"]) else _read_records(path)


class _Parquet:
    def __init__(
        self,
        path: str,
        w_plus_shape: tuple[int, int],
        columns: Mapping[str, Column],
        files: Sequence[str],
    ):
        self._path, self._shape = path, w_plus_shape
        self._columns, self._files = {**COMMON, **columns}, files
        self._file = open(path, "xb")  # noqa: SIM115 (closed in `close`)
        self._writer: Any = None  # begun with the first results, whose settings it records

    def append(self, results: Sequence[Result]) -> None:
        import pyarrow as pa

        if not results:
            return
        schema = self._begin({name: results[0].row[name] for name in SHARED})
        arrays = []
        for field in schema:
            if field.name == W_PLUS:
                arrays.append(_latents([result.w_plus for result in results], self._shape))
                continue
            values = [self._value(result, field.name) for result in results]
            arrays.append(pa.array(values, field.type))
        self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))

    def close(self) -> None:
        # Where nothing was put in, no item fell into the shard: its file is an empty table.
        try:
            self._begin({name: {} for name in SHARED})
            self._writer.close()
        finally:
            self._file.close()

    def _value(self, result: Result, name: str) -> Any:
        """What a column holds of a result."""
        if (column := self._columns.get(name)) is not None:
            value = result.row.get(name)
            return json.dumps(value) if column.kind == "json" and value is not None else value
        kinds = [kind for kind, stored in STORED_AS.items() if stored == name]
        return result.files.get(kinds[0])

    def _begin(self, shared: dict[str, Any]) -> Any:
        if self._writer is None:
            import pyarrow.parquet as pq

            metadata = {name: json.dumps(value) for name, value in shared.items()}
            metadata["w_plus_shape"] = json.dumps(self._shape)
            structured = [n for n, column in self._columns.items() if column.kind == "json"]
            metadata["json_columns"] = json.dumps(structured)
            stored = {n: column for n, column in self._columns.items() if _is_value(column)}
            metadata["stored_columns"] = json.dumps(
                {n: c.empty for n, c in self._columns.items() if not _is_value(c)}
            )
            schema = _schema(stored, self._shape, self._files).with_metadata(metadata)
            self._writer = pq.ParquetWriter(
                self._file, schema, compression="zstd", write_page_checksum=True
            )
        return self._writer.schema


def _is_value(column: Column) -> bool:
    """Whether a column holds a value; those that name files have their data in the shard."""
    return column.kind not in ("file", "files")


def _schema(
    columns: Mapping[str, Column], w_plus_shape: tuple[int, int], files: Sequence[str]
) -> Any:
    import pyarrow as pa

    types = {
        "text": pa.string(),
        "texts": pa.list_(pa.string()),
        "number": pa.float64(),
        "integer": pa.int32(),
        "face": pa.struct({"number": pa.int32(), "of": pa.int32()}),
        "json": pa.string(),
    }
    fields = {name: types[column.kind] for name, column in columns.items()}
    fields[W_PLUS] = pa.list_(pa.float32(), int(np.prod(w_plus_shape)))
    for kind in dict.fromkeys(["reconstruction", *files]):
        # Weights of a generator are long: with 32-bit offsets a piece of 20 would be too large.
        fields[STORED_AS[kind]] = pa.binary() if kind == "reconstruction" else pa.large_binary()
    return pa.schema(fields)


def _latents(latents: Sequence[np.ndarray | None], shape: tuple[int, int]) -> Any:
    import pyarrow as pa

    flat = np.zeros((len(latents), int(np.prod(shape))), np.float32)
    for row, w_plus in zip(flat, latents, strict=True):
        if w_plus is not None:
            row[:] = w_plus.ravel()
    missing = pa.array([w_plus is None for w_plus in latents])
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), flat.shape[1], mask=missing)


_OLDER = {
    "json_columns": ["transform"],
    "stored_columns": {"latents": None, "reconstruction": None},
}
"""What the metadata of files from before there were other tasks would say."""


def _read_parquet(path: str) -> Iterator[Result]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        metadata = {k.decode(): v.decode() for k, v in (file.schema_arrow.metadata or {}).items()}
        shared = {name: json.loads(metadata[name]) for name in SHARED}
        shape = tuple(json.loads(metadata["w_plus_shape"]))
        told = {k: json.loads(metadata[k]) if k in metadata else v for k, v in _OLDER.items()}
        for batch in file.iter_batches(batch_size=64):
            latents = batch.column(W_PLUS)
            names = [name for name in batch.schema.names if name != W_PLUS]
            for index, row in enumerate(batch.select(names).to_pylist()):
                files = {k: row.pop(stored, None) for k, stored in STORED_AS.items()}
                for name in told["json_columns"]:
                    row[name] = None if row[name] is None else json.loads(row[name])
                row |= told["stored_columns"] | shared
                value = latents[index]
                w_plus = value.values.to_numpy().reshape(shape) if value.is_valid else None
                yield Result(row, w_plus, {k: data for k, data in files.items() if data})


class _ArrayRecord:
    def __init__(self, path: str):
        from array_record.python.array_record_module import ArrayRecordWriter

        # Records of some kilobytes each: groups of one give random access without reading others.
        self._writer: Any = _os_errors(ArrayRecordWriter, path, "group_size:1")

    def append(self, results: Sequence[Result]) -> None:
        for result in results:
            tensors = {}
            if result.w_plus is not None:
                tensors[W_PLUS] = np.ascontiguousarray(result.w_plus, np.float32)
            for kind, data in result.files.items():
                tensors[STORED_AS[kind]] = np.frombuffer(data, np.uint8)
            row = json.dumps(result.row, allow_nan=False)
            _os_errors(self._writer.write, safetensors.numpy.save(tensors, {"row": row}))

    def close(self) -> None:
        _os_errors(self._writer.close)


def _os_errors(call: Any, *args: Any) -> Any:
    """Calls array_record, whose writer reports a full disk as a RuntimeError."""
    try:
        return call(*args)
    except RuntimeError as error:
        full = "No space left" in str(error)
        raise OSError(errno.ENOSPC if full else errno.EIO, str(error).split(";")[0]) from error


def _read_records(path: str) -> Iterator[Result]:
    from array_record.python.array_record_module import ArrayRecordReader

    reader: Any = ArrayRecordReader(path)
    try:
        for index in range(reader.num_records()):
            data = reader.read([index])[0]
            tensors = safetensors.numpy.load(data)
            # safetensors gives a buffer's tensors but not its metadata: the header is read here.
            size = int.from_bytes(data[:8], "little")
            row = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["row"])
            files = {
                kind: tensors[stored].tobytes()
                for kind, stored in STORED_AS.items()
                if stored in tensors
            }
            yield Result(row, tensors.get(W_PLUS), files)
    finally:
        reader.close()
