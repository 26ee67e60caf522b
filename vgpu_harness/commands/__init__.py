"""The commands of the command line, one module each; `command` in each is the click command."""
