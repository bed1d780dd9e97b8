"""The operations of the control socket: one file for each subject."""
