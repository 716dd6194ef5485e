from .client import AsyncClient, Client
from .terms import Ask, CampaignStatus, Decision, Outcome, Receipt, Why

__all__ = ["Ask", "AsyncClient", "CampaignStatus", "Client", "Decision", "Outcome", "Receipt", "Why"]
