"""multigrey: one greylisting daemon for Exim, Postfix and everything that speaks greylistd's words."""

__version__ = "0.1.0.dev0"
