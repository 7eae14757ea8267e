"""Pools that this server has a copy of: what they contain, and what an expression would keep of them."""
