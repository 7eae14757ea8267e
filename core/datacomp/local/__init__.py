"""The platform on one machine: server, dispatcher and workers as supervised child processes."""
