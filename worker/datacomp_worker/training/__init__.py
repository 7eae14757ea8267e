"""Training: open_clip's own trainer, in a child process, on our seeded feed."""
