from .client import AsyncClient, Client
from .terms import Ask, CampaignStatus, Challenger, Decision, Outcome, Receipt, Why

__all__ = ["Ask", "AsyncClient", "CampaignStatus", "Challenger", "Client", "Decision", "Outcome", "Receipt", "Why"]
