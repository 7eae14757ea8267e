"""Runs and attempts: the plan of a submission, its life cycle, the worker protocol, the queue."""
