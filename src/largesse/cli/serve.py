"""The commands of the HTTP service: the server, and its keys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from largesse.cli.options import Json
from largesse.errors import DataError

if TYPE_CHECKING:
    from largesse.serving.http.settings import Settings

__all__ = ["keys", "serve"]

Store = Annotated[str, typer.Option(help="Store of the ledger: sqlite:///FILE or postgresql://USER@HOST/DATABASE.")]
keys = typer.Typer(name="keys", help="Keys of the HTTP service: create, list and revoke them.", no_args_is_help=True)


def serve(
    run_folder: Annotated[
        Path | None, typer.Argument(help="A run folder made by `largesse fit`; or give --config.")
    ] = None,
    budget: Annotated[float | None, typer.Option("--budget", "-b", help="Budget of the campaign.")] = None,
    until: Annotated[str | None, typer.Option(help="End of the campaign: a date (its end, UTC) or a time.")] = None,
    store: Annotated[str | None, typer.Option(help="Store of the ledger: sqlite:///FILE or postgresql://...")] = None,
    campaign: Annotated[
        str | None, typer.Option(help="Name of the campaign; that of the run folder if left out.")
    ] = None,
    price: Annotated[float | None, typer.Option(help="First price, as `largesse allocate` prints it.")] = None,
    units: Annotated[float | None, typer.Option(help="How many decisions the budget is for, about.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen at; 127.0.0.1 if left out.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen at; 8000 if left out, 0 for a free one.")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes; 1 if left out.")] = None,
    no_keys: Annotated[
        bool, typer.Option("--no-keys", help="Callers need no key; on a loopback address only.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="TOML file with the server and its campaigns.")
    ] = None,
) -> None:
    """Serve decisions over HTTP: one unit or many, within a budget, with a log of known propensities."""
    from largesse._extras import needed_for

    with needed_for("largesse serve"):
        from largesse.serving.http.settings import load_settings
        from largesse.serving.http.workers import serve as run

    options: dict[str, Any] = {"store": store, "host": host, "port": port, "workers": workers}
    server = {name: got for name, got in options.items() if got is not None} | ({"keys": False} if no_keys else {})
    campaigns = _campaign(
        run_folder, config, campaign, {"budget": budget, "until": until, "price": price, "units": units}
    )

    def load() -> Settings:
        return load_settings(config, server=server, campaigns=campaigns)

    run(load)


def _campaign(run: Path | None, config: Path | None, name: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """Returns the campaign of the options; none with --config, whose campaigns are in the file."""
    fields = {key: got for key, got in given.items() if got is not None}
    if (run is None) == (config is None):
        raise DataError(
            "RUN, --config: give a run folder with --budget, --until and --store, or a file. One of the two."
        )
    if run is None:
        if fields or name is not None:
            option = next(iter(fields), "campaign")
            raise DataError(f"--{option}: belongs to a run folder. With --config, write it into the file.")
        return {}
    return {name or run.absolute().name: {"run": str(run), **fields}}


@keys.command()
def create(
    store: Store,
    role: Annotated[
        str, typer.Option(help="decide: decisions and outcomes. report: campaigns and metrics. admin: all.")
    ],
    name: Annotated[str, typer.Option(help="Whom the key is for.")] = "",
    expires: Annotated[str | None, typer.Option(help="Last day (UTC), or time; none if left out.")] = None,
) -> None:
    """Create a key and print it, once: only its hash is stored."""
    from largesse.cli import show
    from largesse.serving.http.access import create_key
    from largesse.serving.http.settings import end_of
    from largesse.serving.ledger.book import Ledger

    try:
        end = None if expires is None else float(end_of(expires))
    except ValueError as error:
        raise DataError(f"--expires == {expires!r}: {error}.") from None
    with Ledger.open(store) as ledger:
        identity, key = create_key(ledger.engine, role, name=name, expires=end)
    show.err.print(
        f"Key {identity} with the role {role}. It is shown once; servers accept it within seconds.", highlight=False
    )
    typer.echo(key)


@keys.command("list")
def list_(store: Store, as_json: Json = False) -> None:
    """List all keys, without the keys themselves."""
    from largesse.cli import show
    from largesse.serving.http.access import list_keys
    from largesse.serving.http.settings import moment
    from largesse.serving.ledger.book import Ledger

    with Ledger.open(store) as ledger:
        rows = list_keys(ledger.engine)
    times = ("created", "expires", "revoked")
    listed = [{k: moment(v) if k in times and v is not None else v for k, v in row.items()} for row in rows]
    if as_json:
        show.print_json({"keys": listed})
        return
    for row in listed:
        state = (
            f"revoked {row['revoked']}"
            if row["revoked"]
            else f"expires {row['expires']}"
            if row["expires"]
            else "valid"
        )
        show.prose(show.escape(f"{row['id']}  {row['role']}  {row['name'] or '-'}  created {row['created']}  {state}"))
    if not listed:
        show.prose("There are no keys. Create one: largesse keys create --store STORE --role decide")


@keys.command()
def revoke(
    identity: Annotated[str, typer.Argument(help="Id of the key, from `largesse keys list`.")], store: Store
) -> None:
    """Revoke a key; servers refuse it within ten seconds."""
    from largesse.cli import show
    from largesse.serving.http.access import revoke_key
    from largesse.serving.ledger.book import Ledger

    with Ledger.open(store) as ledger:
        fresh = revoke_key(ledger.engine, identity)
    words = "is revoked; servers refuse it within ten seconds" if fresh else "was revoked before"
    show.prose(show.escape(f"Key {identity} {words}."))
