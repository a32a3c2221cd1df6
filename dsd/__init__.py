"""dsd: a laboratory in which researchers design network design spaces."""

__version__ = "0.1.0"
