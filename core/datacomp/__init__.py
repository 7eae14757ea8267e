"""The shared kernel of the DataComp platform and the participant's command-line tool."""

__version__ = "0.1.0"
