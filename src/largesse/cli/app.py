"""The command line application: one function per command, and the exit codes."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from largesse._extras import missing
from largesse.cli.experiment import assign, experiment, replay
from largesse.cli.later import compare, evaluate
from largesse.cli.ledger import decisions, erase, verify_log
from largesse.cli.monitor import monitor
from largesse.cli.options import ConfigFile, Csv, Json, Wide, for_program
from largesse.cli.promote import promote
from largesse.cli.serve import keys, serve
from largesse.cli.studio import studio
from largesse.cli.units import allocate, export, plan, predict
from largesse.cli.update import update
from largesse.errors import LargesseError

if TYPE_CHECKING:
    from largesse.report import Headline

__all__ = ["app", "run"]

app = typer.Typer(
    name="largesse",
    help="Decide who gets which incentive, under a budget, and prove it pays.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_INTERRUPTED = 130
Folder = Annotated[
    Path | None, typer.Option("--folder", "-o", help="The run folder to make; a new one under run.folder if left out.")
]


@app.command()
def demo(
    folder: Annotated[
        Path | None,
        typer.Option("--folder", "-o", help="The folder to make; runs/demo if left out, with --live runs/live."),
    ] = None,
    open_report: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the report in a browser at the end.")
    ] = True,
    live: Annotated[
        bool,
        typer.Option("--live", help="Three weeks of a campaign in a minute: served, watched, learned from, promoted."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Two campaigns on one page: simulated coupons, decided and compared with the truth, and a real trial of cash offers."""
    from largesse.cli import show
    from largesse.commands.processes import begin

    if live:
        from largesse.cli.live import run_live

        run_live(folder or Path("runs/live"), as_json, open_report)
        return
    begin()
    from largesse.commands import demo as both

    with show.progress(as_json) as say:
        if not as_json:
            show.err.print(both.STORY, highlight=False)
        done = both.make(folder or Path("runs/demo"), say)
    if as_json:
        show.print_json({"folder": done.folder, **done.to_dict()})
    else:
        _print_headline(done.headline, done.folder)
    if open_report and not as_json and sys.stdout.isatty():
        typer.launch(str((done.folder / "report.html").absolute()))


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("campaign.toml"),
    data: Annotated[str | None, typer.Option(help="Path of the trial's rows, to be entered in the file.")] = None,
) -> None:
    """Write a commented configuration to fill in."""
    from largesse.cli.show import escape, out
    from largesse.commands.init import write_template

    write_template(path, data)
    place = escape(str(path))
    out.print(
        f"{place}: fill in the paths and the columns, then run `largesse check {place}`.",
        highlight=False,
        soft_wrap=True,
    )


@app.command()
def check(config: ConfigFile, as_json: Json = False, as_csv: Csv = False, wide: Wide = False) -> None:
    """Say what was understood, and check the data: sample ratio, balance, overlap, tails, bias of the past data, power."""
    from largesse.cli import show
    from largesse.commands.campaign import task_of
    from largesse.commands.check import soundness
    from largesse.commands.findings.understood import understood
    from largesse.commands.load import load_rows
    from largesse.config import load

    data = for_program(as_json, as_csv)
    campaign = load(config)
    rows = load_rows(campaign)
    sound = soundness(campaign, rows, lambda: task_of(campaign, rows))  # refuses what `fit` would refuse
    taken = understood(campaign, rows, sound)
    if data:
        found = [f.row for f in sound]
        show.print_data(
            {"ok": sound.ok, "status": sound.status, "outcome": rows.outcome.describe(), "understood": taken,
             "findings": found, "power": next((finding for finding in sound if finding.name == "power"), None)},
            found, as_csv=as_csv,
        )  # fmt: skip
    else:
        show.blocks(taken.blocks(), wide=wide)
        show.out.print()
        show.findings(sound, sound.sentence)
    if not sound.ok:
        raise typer.Exit(1)


@app.command()
def fit(
    config: ConfigFile,
    folder: Folder = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an older run folder of that name.")] = False,
    fast: Annotated[
        bool,
        typer.Option(
            "--fast", help="Prove on one held-out part of the trial (data.test_share) instead of all its rows."
        ),
    ] = False,
    rules: Annotated[
        Path | None,
        typer.Option(
            "--rules", "-r", help="TOML file of rules that the policy obeys in the proof; rules.file if left out."
        ),
    ] = None,
    units: Annotated[
        int | None, typer.Option(help="Number of units that limits in totals are for; rules.units if left out.")
    ] = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Fit the candidates, choose one, evaluate the policy on rows that it did not use; write a run folder with report.html."""
    from largesse.cli.show import progress
    from largesse.commands.processes import begin
    from largesse.config import load

    with progress(for_program(as_json, as_csv)) as say:
        campaign = load(config)
        begin(campaign)
        from largesse.commands.fit import fit as run_fit

        done = run_fit(campaign, folder=folder, replace=replace, fast=fast, rules=rules, units=units, say=say)
    _finished(done, as_json, as_csv)


@app.command()
def tune(
    config: ConfigFile,
    folder: Annotated[
        Path | None, typer.Option("--folder", "-o", help="The folder to make; a new one under run.folder if left out.")
    ] = None,
    trials: Annotated[int, typer.Option(help="Number of settings to try; the first are the models' defaults.")] = 20,
    minutes: Annotated[float | None, typer.Option(help="Start no trial after so many minutes.")] = None,
    model: Annotated[str, typer.Option(help="A model's name; 'auto': all candidates of the campaign.")] = "auto",
    replace: Annotated[bool, typer.Option("--replace", help="Replace an older folder of that name.")] = False,
    as_json: Json = False,
    as_csv: Csv = False,
    wide: Wide = False,
) -> None:
    """Search the models' hyper-parameters, choose with allowance for noise, and write a configuration to fit: tuned.toml."""
    from largesse.cli import show
    from largesse.commands.processes import begin
    from largesse.config import load

    data = for_program(as_json, as_csv)
    with show.progress(data) as say:
        campaign = load(config)
        begin(campaign)
        from largesse.commands.tune import tune as search

        done = search(campaign, trials=trials, minutes=minutes, model=model, folder=folder, replace=replace, say=say)
    if data:
        show.print_data({"folder": done.folder, **done.document}, done.document["trials"], as_csv=as_csv)
    else:
        show.tuning(done.document, done.folder, wide=wide)


app.command()(evaluate)
app.command()(allocate)
app.command()(predict)
app.command()(plan)
app.command()(export)
app.command()(compare)


@app.command()
def schema(command: Annotated[str, typer.Argument(help="A command that has --json.")]) -> None:
    """Print the JSON Schema of what a command prints with --json."""
    from largesse.cli.show import print_json
    from largesse.commands import documents

    print_json(documents.schema(command))


app.command()(experiment)
app.command()(replay)
app.command()(assign)
app.command()(serve)
app.add_typer(keys)
app.command()(monitor)
app.command()(update)
app.command()(promote)
app.command()(studio)
app.command()(erase)
app.command("verify-log")(verify_log)
app.add_typer(decisions, name="decisions")


def _finished(done: object, as_json: bool, as_csv: bool) -> None:
    from largesse.cli import show
    from largesse.commands.fit import Run

    assert isinstance(done, Run)
    if as_json or as_csv:
        show.print_data({"folder": done.folder, **done.metrics}, done.metrics["rows"], as_csv=as_csv)
        return
    _print_headline(done.results.headline, done.folder)


def _print_headline(head: Headline, folder: Path) -> None:
    from largesse.cli import show

    show.prose(f"\n[bold]{show.escape(head.sentence)}[/]")
    for sentence in (*head.summary, head.action):
        show.prose(show.escape(sentence))
    show.out.print(f"\nReport: {show.escape(str(folder / 'report.html'))}", highlight=False, soft_wrap=True)


def _end(words: str, kind: str, as_json: bool) -> NoReturn:
    from largesse.cli import show

    if as_json:
        show.print_json({"error": words, "kind": kind, "notes": []})
    show.err.print(f"[red]error:[/] {show.escape(words)}", highlight=False, soft_wrap=True)
    sys.exit(2)


def run() -> NoReturn:
    """Runs the command line; an error of ours becomes one line on standard error and exit code 2."""
    from largesse.cli import show

    as_json = "--json" in sys.argv
    try:
        app(standalone_mode=True)
    except LargesseError as error:
        notes = getattr(error, "__notes__", [])
        if as_json:
            show.print_json({"error": str(error), "kind": type(error).__name__, "notes": notes})
        show.err.print(f"[red]error:[/] {show.escape(str(error))}", highlight=False, soft_wrap=True)
        for note in notes:
            show.err.print(show.escape(note), highlight=False, soft_wrap=True)
        sys.exit(2)
    except ModuleNotFoundError as error:
        refusal = missing(error, "This command")
        if refusal is None:
            raise
        if as_json:
            show.print_json({"error": str(refusal), "kind": type(refusal).__name__, "notes": []})
        show.err.print(f"[red]error:[/] {show.escape(str(refusal))}", highlight=False, soft_wrap=True)
        sys.exit(2)
    except MemoryError as error:
        _end("out of memory: these rows need more than there is. Use Parquet files for units (they are read in blocks), fewer "
             f"rows, or a larger machine. {error}".rstrip(), "MemoryError", as_json)  # fmt: skip
    except OSError as error:  # of the terminal or the pipe; those of files are LargesseErrors
        if error.errno in (errno.EMFILE, errno.ENFILE):
            _end(
                "too many open files: raise the limit (ulimit -n), or write fewer and larger files.", "OSError", as_json
            )
        if error.errno == errno.ENOMEM:
            _end("out of memory: use fewer rows, or a larger machine.", "MemoryError", as_json)
        if error.filename is not None:
            _end(f"{error.filename}: cannot be used ({error.strerror}). Check the path.", "OSError", as_json)
        show.err.print(f"[red]error:[/] cannot write the output ({show.escape(str(error))})", highlight=False)
        sys.exit(2)
    except (KeyboardInterrupt, SystemExit) as left:
        if isinstance(left, SystemExit) and left.code != _INTERRUPTED:
            raise
        words = (
            "interrupted; nothing half-written was left behind. The same command goes on where work is kept, else anew."
        )
        show.err.print(words, highlight=False)
        sys.exit(_INTERRUPTED)
    sys.exit(0)
