"""What is told to people and their programs when a submission ends: webhooks and mail."""
