"""The audit log: who did what that matters for security, append-only."""
