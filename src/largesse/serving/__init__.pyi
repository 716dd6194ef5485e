from .exporter import export
from .ledger.book import Ledger
from .ledger.log import trial_rows
from .ledger.terms import Answer, Answers, Ask, Campaign, Outcome, Receipt, Status
from .policy import Decision, ServedPolicy
from .runtime import Served

__all__ = [
    "Answer", "Answers", "Ask", "Campaign", "Decision", "Ledger", "Outcome", "Receipt", "Served", "ServedPolicy", "Status",
    "export", "trial_rows",
]  # fmt: skip
