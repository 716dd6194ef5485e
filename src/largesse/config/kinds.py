"""The kinds of fields in a configuration: paths, names, labels, shares, and what they must satisfy."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from largesse.roles import label

__all__ = ["Label", "Name", "Names", "Part", "Place", "Rule", "Setting", "Share", "Weight", "rising", "shares_of_all"]


def _resolve(path: Path, info: ValidationInfo) -> Path:
    """Returns the absolute path, resolved from the folder of the TOML file."""
    folder = (info.context or {}).get("folder", Path())
    return Path(folder, path.expanduser()).absolute()


def _path_text(value: Any) -> Any:
    if not isinstance(value, str | Path) or not str(value).strip() or "\0" in str(value):
        raise ValueError("must be a path, written as text")
    return value


def _label_text(value: Any) -> Any:
    return label(value) if isinstance(value, bool | int | float | str) else value


def shares_of_all(shares: Any) -> Any:
    """Returns shares of the arms that sum to 1, or whole weights; raises ValueError for others."""
    weights = isinstance(shares, dict) and all(share == int(share) for share in shares.values())
    if isinstance(shares, dict) and not weights and abs(sum(shares.values()) - 1) > 1e-6:
        raise ValueError(
            f"shares must sum to 1, these sum to {sum(shares.values()):g}; weights must be whole numbers (5, 1, 1)"
        )
    return shares


def rising(shares: tuple[float, ...]) -> tuple[float, ...]:
    """Returns numbers that increase from one to the next; raises ValueError for others."""
    if any(low >= high for low, high in pairwise(shares)):
        raise ValueError("numbers must increase from one to the next")
    return shares


# Strict everywhere: "0.3" is not a number and 1 is not a boolean. Lists become tuples.
Place = Annotated[Path, Field(strict=False), BeforeValidator(_path_text), AfterValidator(_resolve)]
Name = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Name, ...], Field(strict=False)]
Label = Annotated[str, Field(min_length=1), BeforeValidator(_label_text)]
Share = Annotated[float, Field(gt=0, le=1)]
Weight = Annotated[float, Field(gt=0, le=1e9)]
Part = Annotated[float, Field(gt=0, lt=1)]
Setting = int | float | str | Annotated[tuple[int, ...], Field(strict=False)]
Rule = Literal["per_contact", "per_redemption", "share_of_value"]
