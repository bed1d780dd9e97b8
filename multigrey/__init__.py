"""multigrey: a greylisting daemon for Exim, Postfix and every program that speaks greylistd's protocol."""

__version__ = "0.2.0"
