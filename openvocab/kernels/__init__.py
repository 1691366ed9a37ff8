"""Operations of the heads with a Triton kernel beside an eager reference.

Each operation is a folder: `api` (checks and choice of the implementation), `reference` (eager PyTorch, the oracle) and
`triton` (the kernels, imported when they are first run).
"""
