"""Submissions: opening, uploading, receipts, history, quota."""
