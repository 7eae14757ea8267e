"""Where a filter runs when one machine is not enough: the same result, byte for byte."""
