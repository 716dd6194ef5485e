from .exporter import export
from .ledger.book import Ledger
from .ledger.log import trial_rows
from .ledger.terms import Answer, Answers, Ask, Campaign, Outcome, Receipt, Status, Verification
from .policy import Decision, ServedPolicy
from .runtime import Served
from .watch.monitored import Monitored, monitor
from .watch.signals import Signal

__all__ = [
    "Answer", "Answers", "Ask", "Campaign", "Decision", "Ledger", "Monitored", "Outcome", "Receipt", "Served", "ServedPolicy",
    "Signal", "Status", "Verification", "export", "monitor", "trial_rows",
]  # fmt: skip
