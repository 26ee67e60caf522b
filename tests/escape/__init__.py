"""The escape matrix: each way to look at the virtual GPU, under each provider, held by a list of known escapes.

`PYTHONPATH=tests python -m escape` shows what is not as the list has it; `--update` rewrites the list and the table.
"""
