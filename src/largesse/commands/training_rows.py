"""The rows that a run was trained on, kept as digests, and how many rows of another file are among them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse import _check, store
from largesse._files import PathLike
from largesse.errors import StoreError, why_damaged
from largesse.logs import Logs
from largesse.result import Brief

__all__ = ["Entries", "Overlap", "TrainingRows"]

_KIND, _KEY, _BLOCK = "training rows", 16, 1 << 16
_IDS = ("unit", "cluster")
_SURELY = 5.0  # standard errors beyond the number of rows that are equal by chance
_PRECISE = 0.1  # of the share of training rows: with a larger standard error it stays unknown
_FEW = 0.01  # share of rows equal by chance up to which the others can be evaluated alone
_KEPT = (0.2, 0.5)  # upper end of the share of ids that kept their treatment, where treatments were drawn anew
_SEVERAL = -1  # in place of the treatment of an id that had several

Digests = NDArray[np.uint64]
Mask = NDArray[np.bool_]


class Entries(NamedTuple):
    """The ids of units or of clusters that a run was trained on.

    Attributes:
        digest: Their digests, sorted, uint64 (G,).
        arm: The treatment code of each, int16 (G,); -1 where it had several.
    """

    digest: Digests
    arm: NDArray[np.int16]


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Overlap(Brief):
    """Which rows of a file belong to the training rows of a run.

    Attributes:
        used: Whether a row, or another row of its unit or cluster, was trained on, bool (N,).
        by: What was compared: ``"units"``, ``"clusters"`` or ``"rows"``.
        drawn_anew: Number of rows of units (clusters) that were trained on under a treatment drawn independently of the one
            here. They are not in `used`: their outcomes here tell nothing that the run has learned.
        by_chance: Expected number of rows that equal a training row by chance; 0 where ids were compared.
        known: False where it is not known which rows were trained on.
    """

    used: Mask
    by: str = "rows"
    drawn_anew: int = 0
    by_chance: float = 0.0
    known: bool = True

    @property
    def count(self) -> int:
        """Number of rows that were trained on."""
        return int(np.count_nonzero(self.used))

    @property
    def separable(self) -> bool:
        """Whether the other rows can be evaluated alone: without ids, only if few rows are equal by chance."""
        return self.by_chance <= _FEW * len(self.used)

    @property
    def sentence(self) -> str:
        """A sentence on these rows, without a full stop; "" if nothing."""
        n, what = len(self.used), f"of {self.by} with rows that the run learned from"
        if not self.known:
            return (
                "It is not known whether the run learned from some of these rows: without ids, too many rows are alike"
            )
        if self.count and self.by == "rows":
            chance = f" (by chance: about {self.by_chance:,.0f})" if self.by_chance >= 1 else ""
            cells = "in all features, treatment and outcome"
            return f"{self.count:,} of {n:,} rows equal rows that the run learned from {cells}{chance}"
        if self.count:
            return f"{self.count:,} of {n:,} rows are {what}"
        if self.drawn_anew:
            fair = f"the numbers hold for these {self.by} and may differ for others"
            return f"{self.drawn_anew:,} of {n:,} rows are {what}, but their treatments were drawn anew since: {fair}"
        return ""


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class TrainingRows(Brief):
    """Digests of the rows that a run was trained on: of the ids of units and clusters, or of whole rows without ids.

    A digest is 64 bits of BLAKE2b under a key that belongs to the run. It shows no id, but who has a list of ids can test each.

    Attributes:
        n: Number of rows.
        key: Key of the digests.
        ids: ``"unit"`` or ``"cluster"`` → the ids; without those that are not declared.
        rows: Digests of distinct rows (features, treatment, value, timestamp), sorted, uint64 (R,); empty where there are ids.
        single: Number of rows that no other training row equals.

    >>> logs = Logs(x=[[1.0], [2.0], [3.0]], treatment=[0, 1, 0], value=[0, 1, 1], cost=[0, 1, 0], unit=["a", "b", "c"])
    >>> rows = TrainingRows.of(logs)
    >>> rows.overlap(logs.take([0, 1])).used.tolist()
    [True, True]
    """

    n: int
    key: bytes
    ids: dict[str, Entries]
    rows: Digests
    single: int = 0

    @classmethod
    def of(cls, rct: Logs, obs: Logs | None = None) -> TrainingRows:
        """Returns the digests of the rows of a trial, and of past campaign data encoded alike."""
        parts = [rct] if obs is None else [rct, obs]
        # The same rows have the same key, so that a run is reproduced to the byte; other rows have another.
        key = hashlib.blake2b(rct.treatment.tobytes() + rct.value.tobytes(), digest_size=_KEY).digest()
        ids = {name: _entries(parts, name, key) for name in _IDS if getattr(rct, name) is not None}
        rows, single = np.empty(0, np.uint64), 0
        if not ids:
            rows, times = np.unique(np.concatenate([_of_rows(part, key) for part in parts]), return_counts=True)
            single = int(np.count_nonzero(times == 1))
        return cls(n=sum(part.n for part in parts), key=key, ids=ids, rows=rows, single=single)

    def overlap(self, logs: Logs) -> Overlap:
        """Returns which rows of a trial, encoded by the run, were trained on.

        A unit or cluster with any row among the training rows counts as trained on: a model may remember its level. It does not
        count if the treatments here were drawn anew, so that what it remembers is independent of them. This is shown where the
        ids of both files had the same treatment about as often as independent draws give, see `_independent`.

        Without ids, rows are compared by their cells. The share that equals a training row by chance is estimated by that of the
        training rows that equal another one (Good and Turing); more than 5 standard errors beyond it, rows were trained on.
        """
        if not self.ids:
            return self._alike(logs)
        used = {name: np.zeros(logs.n, np.bool_) for name in self.ids}
        anew = dict.fromkeys(self.ids, 0)
        for name, entries in self.ids.items():
            ids = getattr(logs, name)
            if ids is None:
                rule = f"the run was trained on rows with ids of {name}s, these rows have none"
                raise _check.refuse(name, None, rule, f"Give the {name} of every row.")
            matched, independent = _matched(entries, _of_ids(ids, self.key), logs.treatment)
            if independent:
                anew[name] = int(np.count_nonzero(matched))
            else:
                used[name] = matched
        most = max(self.ids, key=lambda name: (np.count_nonzero(used[name]), anew[name]))
        return Overlap(used=np.logical_or.reduce(list(used.values())), by=f"{most}s", drawn_anew=max(anew.values()))

    def _alike(self, logs: Logs) -> Overlap:
        """Returns which rows equal a training row; none if they are no more than chance gives."""
        equal = np.isin(_of_rows(logs, self.key), self.rows)
        n, chance = logs.n, (self.n - self.single + 1) / (self.n + 2)
        error = np.sqrt(n * chance * (1 - chance) * (1 + n / self.n))
        if np.count_nonzero(equal) > n * chance + _SURELY * error:
            return Overlap(used=equal, by_chance=n * chance)
        known = error <= _PRECISE * n * (1 - chance)
        return Overlap(used=np.zeros(n, np.bool_), by_chance=n * chance, known=bool(known))

    def save(self, path: PathLike) -> None:
        """Writes the digests as a folder; errors as for `store.save`."""
        settings = {"rows": self.n, "single": self.single, "key": self.key.hex(), "ids": list(self.ids)}
        arrays = {f"{name}.{part}": array for name, e in self.ids.items() for part, array in e._asdict().items()}
        store.save(path, _KIND, settings, {"rows": self.rows, **arrays})

    @classmethod
    def load(cls, path: PathLike) -> TrainingRows:
        """Returns saved digests.

        Raises:
            StoreError: The folder is missing, damaged, of a newer version, or holds something else.
        """
        kind, settings, arrays = store.load(path)
        if kind != _KIND:
            raise StoreError(f"{path}: holds a {kind}, not the digests of training rows. Fit again.")
        try:
            ids = {name: Entries(arrays[f"{name}.digest"], arrays[f"{name}.arm"]) for name in settings["ids"]}
            out = cls(n=int(settings["rows"]), key=bytes.fromhex(settings["key"]), ids=ids, rows=arrays["rows"],
                      single=int(settings["single"]))  # fmt: skip
            out._check()
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"{path}: is damaged ({why_damaged(error)}). Copy the whole run again.") from error
        return out

    def _check(self) -> None:
        for array in (self.rows, *(e.digest for e in self.ids.values())):
            if array.dtype != np.uint64 or array.ndim != 1 or not (array[1:] > array[:-1]).all():
                raise ValueError("digests must be sorted and differ")
        if any(e.arm.dtype != np.int16 or e.arm.shape != e.digest.shape for e in self.ids.values()):
            raise ValueError("every id needs a treatment")
        if not (0 <= self.single <= self.n and len(self.key) == _KEY and set(self.ids) <= set(_IDS)):
            raise ValueError("counts, key or columns")


def _entries(parts: Iterable[Logs], name: str, key: bytes) -> Entries:
    having = [part for part in parts if getattr(part, name) is not None]
    digests = np.concatenate([_of_ids(getattr(part, name), key) for part in having])
    arms = np.concatenate([part.treatment for part in having])
    digest, first, code = np.unique(digests, return_index=True, return_inverse=True)
    arm = arms[first].astype(np.int16)
    arm[code.reshape(-1)[arms != arms[first][code.reshape(-1)]]] = _SEVERAL
    return Entries(digest, arm)


def _matched(entries: Entries, digest: Digests, treatment: NDArray[np.int32]) -> tuple[Mask, bool]:
    """Returns which rows have an id among the entries, and whether the treatments of those were drawn anew."""
    at = np.minimum(np.searchsorted(entries.digest, digest), len(entries.digest) - 1)
    used = entries.digest[at] == digest
    _, first = np.unique(at[used], return_index=True)  # one row of each id
    before, now = entries.arm[at[used][first]], treatment[used][first]
    one = before != _SEVERAL
    return used, _independent(before[one], now[one])


def _independent(before: NDArray[np.int16], now: NDArray[np.int32]) -> bool:
    """Returns whether the treatments of the same ids, (G,) each, agree about as often as independent draws do.

    The share of ids that kept their treatment is estimated with its standard error. It must agree with 0 (3 standard errors) and
    surely be below a half (2 standard errors), or surely be below 0.2: strata alone make treatments agree a little.
    """
    n = len(before)
    if n == 0:
        return False
    m = int(max(before.max(), now.max())) + 1
    chance = float(np.bincount(before, minlength=m) / n @ (np.bincount(now, minlength=m) / n))
    if chance > 1 - 1e-9:
        return False
    # agreement = share + (1 - share) · chance, where `share` of the ids kept their treatment
    share = (float((before == now).mean()) - chance) / (1 - chance)
    error = float(np.sqrt(chance / (1 - chance) / n))
    return share + 2 * error <= float(np.clip(5 * error, *_KEPT))


def _of_ids(ids: NDArray[np.generic], key: bytes) -> Digests:
    """Returns the digest of each id; integers and their decimal text are the same id."""
    blocks = (ids[start : start + _BLOCK].tolist() for start in range(0, len(ids), _BLOCK))
    return _digests((str(one).encode() for block in blocks for one in block), key)


def _of_rows(logs: Logs, key: bytes) -> Digests:
    """Returns the digest of the cells of each row. Costs and weights are left out: they may be derived or scaled."""
    return _digests(_row_bytes(logs), key)


def _row_bytes(logs: Logs) -> Iterator[bytes]:
    for start in range(0, logs.n, _BLOCK):
        rows = slice(start, start + _BLOCK)
        columns = [logs.x[rows] + np.float32(0), logs.treatment[rows], logs.value[rows] + 0.0]  # -0.0 becomes 0.0
        if logs.timestamp is not None:
            time = logs.timestamp[rows]
            columns.append(time.astype("M8[us]") if time.dtype.kind == "M" else time.astype(np.float64))
        cells = [np.ascontiguousarray(c).view(np.uint8).reshape(len(c), -1) for c in columns]
        packed = np.concatenate(cells, axis=1)
        width, data = packed.shape[1], packed.tobytes()
        yield from (data[k : k + width] for k in range(0, len(data), width))


def _digests(cells: Iterable[bytes], key: bytes) -> Digests:
    joined = b"".join(hashlib.blake2b(cell, digest_size=8, key=key).digest() for cell in cells)
    return np.frombuffer(joined, "<u8").astype(np.uint64)
