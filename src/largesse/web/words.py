"""All words of the studio that are no results, in one place; another language would be another table of this kind."""

from __future__ import annotations

__all__ = ["EN", "words"]

EN = {
    "studio": "largesse studio",
    "skip": "Skip to the content",
    "pages": "Pages",
    "run": "Run",
    "verdict": "Verdict",
    "next": "What to do",
    "numbers": "The numbers",
    "settings": "Settings",
    "show": "Show",
    "csv": "CSV",
    "json": "JSON",
    "markdown": "Markdown",
    "png": "PNG",
    "print": "Print or PDF",
    "link": "Copy the link",
    "copied": "Copied",
    "as": "This page as",
    "table.csv": "Download this table as CSV",
    "chart.png": "Download this chart as PNG",
    "leave": "Sign out",
    "yes": "Yes, do it",
    "no": "Cancel",
    "busy": "Computing …",
    "lost": "The studio does not answer. Is it still running? What is shown may be old.",
    "noscript": "Without JavaScript, charts are left out and a change is shown after a press of “Show”.",
    "problem": "This cannot be shown",
    "problem.back": "Go back to the page without these settings",
    "enter": "Enter the studio",
    "enter.key": "Key of the service",
    "enter.key.help": "A key with the role report or admin: `largesse keys create STORE --role report` makes one.",
    "enter.link": "Open the link that the terminal shows: it lets one browser in.",
    "enter.used": "This link was used, or is not the one of this studio. Start the studio again for a new one.",
    "enter.key.wrong": "This key is not valid, or its role may not look: it must be report or admin.",
    "enter.do": "Enter",
    "source": "From {run} by largesse {version}; {when}. The same page: {address}",
    "nothing": "There is nothing to show yet.",
    # Pages: their names, and the question that each answers.
    "budget": "Budget",
    "budget.question": "What does a budget buy, and does it pay?",
    "who": "Who",
    "who.question": "Who gets what, and what does that bring?",
    "rules": "Rules",
    "rules.question": "What does a rule cost?",
    "unit": "Unit",
    "unit.question": "Why does this unit get what it gets?",
    "proof": "Proof",
    "proof.question": "Can I believe it?",
    "compare": "Compare",
    "compare.question": "Which run is better?",
    "experiment": "Experiment",
    "experiment.question": "What did the experiment show?",
    "live": "Live",
    "live.question": "Is the campaign on pace, and does it pay?",
    "data": "Data",
    "data.question": "What was the run learned from?",
    # Fields
    "budget.total": "Budget, {money} in total",
    "budget.per_unit": "Budget, {money}",
    "value": "One unit of value brings, {money}",
    "value.help": "The run says {declared}.",
    "value.unknown": "The run does not say it, so it is not known which budget pays.",
    "cost": "Costs against those of the trial, %",
    "cost.help": "100: as in the trial. 110: everything costs a tenth more.",
    "safety": "Stay within the budget",
    "safety.average": "on average",
    "safety.sure": "with {percent} probability",
    "keep": "Keep for comparison",
    "forget": "Forget those that are kept",
}
"""Key → English words; names in braces are filled in."""


def words(key: str, **filled: object) -> str:
    """Returns the words of a key.

    Args:
        key: A key of `EN`.
        filled: What stands for the names in braces.

    >>> words("budget.total", money="EUR")
    'Budget, EUR in total'
    """
    return EN[key].format(**filled) if filled else EN[key]
