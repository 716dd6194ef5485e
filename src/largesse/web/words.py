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
    "pdf": "Slide (PDF)",
    "picture": "Slide (PNG)",
    "print": "Print",
    "link": "Copy the link",
    "copied": "Copied",
    "as": "This page as",
    "table.csv": "Download this table as CSV",
    "chart.png": "Download this chart as PNG",
    "leave": "Sign out",
    "act.not": "You entered with a key that may look, not change anything. The buttons need a key with the role admin.",
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
    "source": "From the run {run}, by largesse {version}; {when}. The same page: {address}",
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
    # Budget
    "budget.one": "The next {money} brings back one at {budget}",
    "budget.targeted": "Spend it, and let the policy choose who gets what.",
    "budget.untargeted": "Spend it. Given to random units, by the best mix of arms, it is not shown to bring "
    "less than by the policy.",
    "budget.not_shown": "Do not spend it yet: try the budgets around the highest net value below, or learn more "
    "by a larger trial.",
    "budget.loses": "Do not spend it: it costs more than it brings.",
    "budget.out_of_reach": "Give a larger budget: the cheapest allocation of this policy costs more.",
    # Who
    "who.column": "By column",
    "who.less": "Less budget, %",
    "who.less.help": "10: shows who would lose if a tenth of the budget were taken away.",
    "who.try": "What would 10 % less budget lose?",
    "who.all": "All units again",
    "who.only": "Only {group}",
    "who.mix": "Who gets what",
    "who.mix.caption": "Each bar is all units of a group, by treatment.",
    "who.table": "What that is predicted to bring",
    "who.moved": "Change",
    "who.how": "Sums of the model's predictions beyond control for everyone, not calibrated on the trial: read them beside "
    "each other.",
    "who.evidence": "What held-out rows say of these groups",
    "who.evidence.how": "On held-out rows of the trial, at the same budget per unit and against giving nobody anything. "
    "Each interval is for its own group: two that overlap are not shown to differ.",
    "who.unproven": "This column was not one of the campaign, so the trial says nothing of its groups.",
    "who.alike": "The run has no column with more than one group.",
    "who.units": "These are rows of the trial. To see the units that are to be decided: largesse studio RUN --units FILE.",
    # Proof
    "proof.none": "This run was fitted by an earlier version, which did not keep its report as data.",
    "proof.again": "Open report.html in its folder, or fit it again.",
    "proof.rows": "Rows of the trial",
    "proof.folds": "Parts of the trial evaluated",
    "proof.held": "Held-out rows",
    "proof.model": "Model chosen",
    # Compare
    "compare.first": "First run",
    "compare.second": "Second run",
    "compare.same": "Choose two different runs.",
    "compare.not": "These runs were proven on different rows, so their numbers cannot be subtracted.",
    "compare.paired": "Both were proven on the same held-out rows, so the difference is paired: common noise cancels.",
    "compare.unpaired": "Compare two runs on the same later rows: largesse compare RUN RUN FILE. Below, each has its own rows.",
    "compare.other": "The runs have different treatments, so their allocations cannot be compared unit by unit.",
    "compare.moves": "Who gets what in both",
    "compare.lines": "All budgets",
    "compare.lines.how": "Each run on its own held-out rows.",
    # Data
    "data.column": "Feature in the chart",
    "data.trial": "trial",
    "data.units": "your units",
    "data.of": "{feature}: shares",
    "data.features": "The features in the trial",
    "data.drift": "Your units beside the trial, what differs most first",
    "data.like": "The features that are as in the trial",
    "data.checks": "Is the data sound?",
    "data.no.units": "Start the studio with --units to see whether the units to be decided are like the trial.",
    "data.no.spreads": "This run does not keep how its features are spread. Fit it again to see them, and the drift of units.",
    "data.propensity.observed": "the shares of the arms, as observed",
    "data.propensity.uniform": "uniform, as declared",
    "data.propensity.planned": "as planned: {shares}",
    "data.propensity.rows": "those of each row, from the column {column}",
    # Experiment
    "experiment.none": "{name}: no experiment can be shown",
    "experiment.rows": "Rows",
    "experiment.level": "Level of the intervals",
    # Live
    "live.campaign": "Campaign",
    "live.computing": "The log is being read for the signals, which takes some seconds; they appear here by themselves.",
    "live.alarms": "What is wrong, and what to do",
    "live.challenger": "The challenger: what the evidence supports",
    "live.spend": "Money paid by day",
    "live.lift": "What it brings, beyond the holdout",
    "live.fine": "{title}: the {number} signals that are fine",
    "live.runs": "Which run decides",
    "live.decisions": "Decisions by the rule that drew them",
    "live.kind.policy": "the policy",
    "live.kind.explore": "at random, to learn",
    "live.kind.holdout": "the holdout, which gets nothing",
    "live.journal": "Journal: what was changed, the last first",
    "live.do": "Do what the evidence supports",
    "live.end": "End the challenger {version}",
    "live.back": "Back to the run before: {version}",
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
