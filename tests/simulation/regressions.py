"""Seeds that found a fault once, in a core or in the simulation; `make test` runs them first."""

REGRESSIONS = (
    1, 2, 4, 5, 6, 9, 12, 13, 32, 33,  # a job's ordinal was listed again and counted twice
    47, 2132,  # a singleton at work on two hosts
    7, 15, 26, 38,  # daemons on a host that is emptied
    76, 95,  # a start of what was held, and a starved daemon
)  # fmt: skip

MUTANT_SEEDS = {
    "challenges a fresh lease": 0,
    "leads beyond its lease": 1,
    "counts the lease from the answer": 141,
    "forgets unknown writes and trusts its memory": 8,
    "never repeats a failed write": 2,
    "never gives a host up": 0,
    "host goes back": 0,
    "overfills hosts": 0,
    "writes without a fence": 3,
    "no fence on the host": 16,
    "lease without the target": 2,
    "moves a singleton without proof": 21,
    "never reverts": 23,
    "counts a job's replica twice": 0,
    "answers after its lease": 9,
    "lease counted from the answer's arrival": 400,
}
"""The first seed that catches each planted bug."""

SURVIVORS = ("trusts what a leader before withdrew",)
"""Bugs that no seed has caught yet: an invariant or a fault may be missing."""
