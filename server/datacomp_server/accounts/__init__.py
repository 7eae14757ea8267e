"""Who may do what: users, passwords, API tokens and web sessions."""
