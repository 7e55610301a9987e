"""A search that knows landscapes: it draws whole landscapes from what is known, and asks what each cell would gain.

What is known is a prior over surfaces and memory limits, learned from published landscapes (`prior-v1.json`) and
averaged with a generic one, an earlier round if there is one, and the trials so far. `ask` has the functions that
answer requests. This package loads numpy: reach it through `core.search` only.
"""
