"""Doing again what a manifest accounts for, and saying how far the outcome agrees. The stages are the worker's."""
