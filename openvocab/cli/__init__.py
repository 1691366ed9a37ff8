"""The program `openvocab`: a module per sub-command, whose `main` takes its arguments and gives an exit code.

Modules import the rest of the package where they use it: `openvocab.preflight` must be able to say first what is
missing, and a wrong option should be answered before torch and detectron2 have taken their seconds.
"""
