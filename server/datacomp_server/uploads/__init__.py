"""Files that arrive in pieces, by the tus protocol."""
