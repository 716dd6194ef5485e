"""Published randomised trials by name, as Arrow tables with the role of every column.

| loader         | trial                                        | value               | cost                          |
|----------------|----------------------------------------------|---------------------|-------------------------------|
| `thornton`     | cash for collecting a test result, 5 levels  | result collected    | the offer, paid on collection |
| `hillstrom`    | two e-mail campaigns and none                | spend               | assumed, per mail             |
| `ecoupon`      | coupon or none, in a web shop                | gross basket        | the discount redeemed         |
| `charitable`   | matching grants 1:1, 2:1, 3:1 and none       | gift                | match ratio × gift            |
| `criteo`       | advertising or none (CRITEO-UPLIFT v2)       | conversion          | visit, in control too         |

`thornton` is part of the package causaldata; the others are read from the folder in the environment variable LARGESSE_DATA.
Features are columns known before the treatment; columns measured after it are left out.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from largesse import _check
from largesse._arguments import checked
from largesse._extras import needed_for
from largesse.errors import DataError, SchemaError
from largesse.result import Brief

__all__ = ["Dataset", "charitable", "criteo", "ecoupon", "hillstrom", "thornton"]

_VARIABLE = "LARGESSE_DATA"


@checked
@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Dataset(Brief):
    """A randomised trial as a table, with the role of every column.

    Attributes:
        name: Name of its loader.
        table: One row per unit.
        treatment: Column of treatment names.
        value: Column of the outcome, float.
        cost: Column of the spend, float, >= 0.
        features: Columns known before the treatment; numbers, booleans or strings, missing values allowed.
        treatments: Names of the treatments, control first.
        control_cost: Whether control rows may have costs.
        source: Source and licence of the data.
        note: Caveats.

    Raises:
        SchemaError: A column is missing, or the treatments in the table are not those named.
    """

    name: str
    table: pa.Table
    treatment: str
    value: str
    cost: str
    features: tuple[str, ...]
    treatments: tuple[str, ...]
    control_cost: bool = False
    source: str
    note: str

    def __post_init__(self) -> None:
        _require(self.table.column_names, (self.treatment, self.value, self.cost, *self.features), self.name)
        labels = set(pc.unique(self.table[self.treatment]).to_pylist())
        if not labels <= set(self.treatments):
            raise SchemaError(
                f"{self.treatment}: the labels {sorted(map(str, labels))} are not the treatments {list(self.treatments)}. "
                "Use the published file.", field=self.treatment,
            )  # fmt: skip

    @property
    def n(self) -> int:
        """Number of rows."""
        return int(self.table.num_rows)


@checked
def thornton() -> Dataset:
    """Returns Thornton's trial: cash offers of 0 to 2.84 USD for collecting the result of a medical test.

    2,834 rows. Treatment: the offer, in five levels; value: collected (0/1); cost: the offer, paid on collection.

    >>> data = thornton()
    >>> data.n, data.treatments
    (2834, ('0', '(0, 0.5]', '(0.5, 1]', '(1, 2]', '(2, 3]'))
    """
    import pandas as pd

    frame = pd.read_stata(str(resources.files("causaldata") / "thornton_hiv" / "thornton_hiv.dta"))
    frame = frame.dropna(subset=["got", "tinc"])
    names = ("0", "(0, 0.5]", "(0.5, 1]", "(1, 2]", "(2, 3]")
    offer = frame["tinc"].to_numpy(np.float64)
    village = [None if np.isnan(v) else str(int(v)) for v in frame["villnum"]]
    collected = frame["got"].to_numpy(np.float64)
    columns = {
        "offer": np.array(names)[np.searchsorted([0.0, 0.5, 1.0, 2.0], offer)], "collected": collected,
        "paid": offer * collected, "distance": frame["distvct"].to_numpy(np.float64),
        "age": pa.array(frame["age"].to_numpy(np.float64), from_pandas=True),
        "village": pa.array(village, pa.string()), "offer_usd": offer,
    }  # fmt: skip
    return Dataset(
        name="thornton", table=pa.table(columns), treatment="offer", value="collected", cost="paid",
        features=("distance", "age", "village"), treatments=names,
        source="Thornton (2008), American Economic Review 98(5); shipped by the package causaldata (MIT).",
        note="The result of the test is left out, because it is unknown when the offer is made. The shares of the levels differ "
        "between the 119 villages, so compare levels within villages or adjust for them. `offer_usd` is the exact "
        "offer; `distance` is in kilometres to the centre that hands out results.",
    )  # fmt: skip


@checked
def hillstrom(*, mail_cost: float = 0.1) -> Dataset:
    """Returns Hillstrom's e-mail trial, 64,000 customers: treatment = campaign, value = spend in two weeks (USD).

    Args:
        mail_cost: Assumed cost of one mail, USD, >= 0; the data contain no costs.

    Raises:
        DataError: The file is missing, or the cost is negative.
    """
    source = "Kevin Hillstrom, MineThatData E-Mail Analytics And Data Mining Challenge (2008), hillstrom.csv.gz"
    unit_cost = _check.number("mail_cost", mail_cost, low=0)
    table = pyarrow.csv.read_csv(_find("hillstrom/hillstrom.csv.gz", source))
    features = ("recency", "history_segment", "history", "mens", "womens", "zip_code", "newbie", "channel")
    _require(table.column_names, (*features, "segment", "spend"), "hillstrom")
    mailed = pc.cast(pc.not_equal(table["segment"], "No E-Mail"), pa.float64())
    table = table.append_column("cost", pc.multiply(mailed, unit_cost))
    return Dataset(
        name="hillstrom", table=table, treatment="segment", value="spend", cost="cost", features=features,
        treatments=("No E-Mail", "Mens E-Mail", "Womens E-Mail"), source=f"{source}; public, no formal licence.",
        note=f"The cost is an assumption: {unit_cost:g} USD per mail. `visit` and `conversion` were measured after the mail.",
    )  # fmt: skip


@checked
def ecoupon() -> Dataset:
    """Returns a coupon trial in a web shop, 34,853 sessions: value = gross basket, cost = discount redeemed (EUR).

    Raises:
        DataError: The file is missing.
    """
    source = (
        "GitHub lukekolbe/Causal-Inference-in-Profit-Uplift-Modeling, working data/eval/b_t_test_alt_eval.csv, "
        "saved as b_t_test_alt_eval.csv.gz"
    )
    table = pyarrow.csv.read_csv(_find("ecoupon_books_toys/b_t_test_alt_eval.csv.gz", source))
    after = ("eligibility", "ExpectedDiscount", "converted", "checkoutAmount")
    _require(table.column_names, ("treatment", "epochSecond", *after), "ecoupon")
    features = tuple(c for c in table.column_names if c not in ("", "treatment", "epochSecond", *after))
    columns = {c: table[c] for c in ("epochSecond", *features)}
    columns["gross"] = pc.add(
        pc.cast(table["checkoutAmount"], pa.float64()), pc.cast(table["ExpectedDiscount"], pa.float64())
    )
    columns["discount"] = pc.cast(table["ExpectedDiscount"], pa.float64())
    columns["coupon"] = _named(table["treatment"], ("none", "coupon"))
    return Dataset(
        name="ecoupon", table=pa.table(columns), treatment="coupon", value="gross", cost="discount", features=features,
        treatments=("none", "coupon"), source=f"{source}; no licence stated: for your own study only.",
        note="Randomised 75:25. Basket = amount paid + discount, assuming that every eligible buyer redeems. The terms "
        "of the campaign (campaignValue, campaignUnit, campaignMov) were not randomised, only who got the coupon.",
    )  # fmt: skip


@checked
def charitable() -> Dataset:
    """Returns Karlan and List's matching-grant trial, 50,081 letters: value = gift, cost = match ratio × gift (USD).

    Needs the package rdata: ``pip install 'largesse[rda]'``.

    Raises:
        DataError: The file is missing.
        MissingDependency: rdata is not installed.
    """
    source = (
        "GitHub itamarcaspi/experimentdatar, data/charitable.rda (Karlan and List 2007, American Economic Review 97(5))"
    )
    path = _find("charitable_giving/charitable.rda", source)
    with needed_for("charitable()"):
        import rdata
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about R classes of the tibble, which are not needed
        frame = rdata.read_rda(str(path))["charitable"]
    gift = _numbers(frame["out_amountgive"])
    ratio = _numbers(frame["treatment"]) * (1 + _numbers(frame["treat_ratio2"]) + 2 * _numbers(frame["treat_ratio3"]))
    after = ("treat", "out_", "stateresponse")
    features = tuple(c for c in frame.columns if not c.startswith(after))
    kept = np.isfinite(gift)
    names = ("control", "1:1", "2:1", "3:1")
    columns: dict[str, Any] = {"match": np.array(names)[ratio[kept].astype(int)], "gift": gift[kept]}
    columns["grant"] = ratio[kept] * gift[kept]
    columns |= {c: pa.array(_numbers(frame[c])[kept], from_pandas=True) for c in features}
    return Dataset(
        name="charitable", table=pa.table(columns), treatment="match", value="gift", cost="grant", features=features,
        treatments=names, source=f"{source}; repository CC0-1.0.",
        note="The size of the grant and the suggested amounts were randomised too and are left out, as are the "
        "response rates by state, which were computed from the outcome. Two rows without an amount are dropped.",
    )  # fmt: skip


@checked
def criteo(path: str | Path | None = None, *, rows: int | None = None) -> Dataset:
    """Returns CRITEO-UPLIFT v2: value = conversion, cost = visit; control rows have visits too. Read batch by batch.

    Args:
        path: The published file (.csv, .csv.gz or .parquet); default: the 1,000-row sample under LARGESSE_DATA.
        rows: Number of rows to read from the start; None reads all (13,979,592 rows need about 0.8 GB).

    Raises:
        DataError: The file is missing, or an indicator column has values other than 0 and 1.
        SchemaError: A column is missing.
    """
    source = "https://ailab.criteo.com/criteo-uplift-prediction-dataset, criteo-uplift-v2.1.csv.gz"
    file = Path(path) if path is not None else _find("criteo_uplift_samples/criteo-uplift-v2.1_1000rows.csv", source)
    if not file.is_file():
        raise _check.refuse("path", str(file), "there is no such file", f"Get it from {source}.")
    if rows is not None:
        _check.number("rows", rows, low=1)
    features = tuple(f"f{k}" for k in range(12))
    parts, left = [], rows
    for batch in _criteo_batches(file, features):
        part = _criteo_part(batch if left is None else batch.slice(0, left), features)
        parts.append(part)
        left = None if left is None else left - part.num_rows
        if left == 0:
            break
    return Dataset(
        name="criteo", table=pa.concat_tables(parts).unify_dictionaries(), treatment="treatment", value="conversion",
        cost="visit", features=features, treatments=("control", "treated"), control_cost=True,
        source=f"{source}; CC BY-NC-SA 4.0.",
        note="`exposure` was measured after the treatment and is left out. The cost of a visit is compared with control's.",
    )  # fmt: skip


def _criteo_batches(file: Path, features: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    needed = (*features, "treatment", "conversion", "visit")
    if file.suffix == ".parquet":
        parquet = pyarrow.parquet.ParquetFile(file)
        _require(parquet.schema_arrow.names, needed, str(file))
        yield from parquet.iter_batches(columns=list(needed))
        return
    with pyarrow.csv.open_csv(file) as head:
        _require(head.schema.names, needed, str(file))
    types = {c: pa.float32() for c in features} | {c: pa.float64() for c in needed[12:]}
    options = pyarrow.csv.ConvertOptions(include_columns=list(needed), column_types=types)
    try:
        with pyarrow.csv.open_csv(file, convert_options=options) as reader:
            yield from reader
    except pa.ArrowInvalid as error:
        message = f"{file}: has cells that are not numbers ({error}). Use the published file."
        raise DataError(message, field="path") from error


def _criteo_part(batch: pa.RecordBatch, features: tuple[str, ...]) -> pa.Table:
    columns: dict[str, Any] = {c: pc.cast(batch[c], pa.float32()) for c in features}
    bits = {c: np.asarray(batch[c], np.float64) for c in ("treatment", "conversion", "visit")}
    for name, column in bits.items():
        bad = ~np.isin(column, (0.0, 1.0))
        if bad.any():
            raise _check.refuse_cells(name, column, bad, "must be 0 or 1", "Use the published file.")
    bad = bits["conversion"] > bits["visit"]
    if bad.any():
        remedy = "Check whether the columns are swapped."
        raise _check.refuse_cells("conversion", bits["conversion"], bad, "needs a visit", remedy)
    columns["treatment"] = _named(bits["treatment"], ("control", "treated"))
    return pa.table(columns | {"conversion": bits["conversion"], "visit": bits["visit"]})


def _named(codes: Any, names: tuple[str, ...]) -> Any:
    """Returns codes 0, 1, ... as a dictionary-encoded column of names."""
    return pa.DictionaryArray.from_arrays(np.asarray(codes, np.int32), pa.array(names))


def _numbers(column: Any) -> Any:
    """Returns a column of numbers or of numeric labels as float64; -999 and missing cells become NaN."""
    import pandas as pd

    text = column.astype(str) if isinstance(column.dtype, pd.CategoricalDtype) else column
    out = pd.to_numeric(text, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return np.where(out == -999, np.nan, out)


def _require(got: Any, needed: tuple[str, ...], where: str) -> None:
    missing = [c for c in needed if c not in got]
    if missing:
        raise SchemaError(f"{where}: the columns {missing} are missing. It has {list(got)}.", field=missing[0])


def _find(file: str, source: str) -> Path:
    folder = os.environ.get(_VARIABLE)
    advice = f"Set {_VARIABLE} to the folder that contains {file!r}. The data come from: {source}."
    if not folder:
        raise DataError(f"{_VARIABLE}: is not set. {advice}", field=_VARIABLE)
    path = Path(folder) / file
    if not path.is_file():
        raise DataError(f"{_VARIABLE} == {folder!r}: {path} does not exist. {advice}", field=_VARIABLE)
    return path
