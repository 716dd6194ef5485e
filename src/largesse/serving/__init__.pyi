from .exporter import export
from .ledger.book import Ledger
from .ledger.log import trial_rows
from .ledger.terms import Answer, Answers, Ask, Campaign, Outcome, Receipt, Status, Verification
from .policy import Decision, ServedPolicy
from .runtime import Served

__all__ = [
    "Answer", "Answers", "Ask", "Campaign", "Decision", "Ledger", "Outcome", "Receipt", "Served", "ServedPolicy", "Status",
    "Verification", "export", "trial_rows",
]  # fmt: skip
