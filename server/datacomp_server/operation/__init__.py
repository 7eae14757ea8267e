"""What organisers need to keep the platform running: metrics, logs, retention, backup, their console."""
