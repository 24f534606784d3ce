"""One file a command of the command line. They import what is heavy inside their functions: --help stays quick."""
