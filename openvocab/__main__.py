"""`python -m openvocab`: the program `openvocab`, also where scripts are not on the PATH, and under torchrun."""

from openvocab.cli.program import process

if __name__ == "__main__":
    process()
