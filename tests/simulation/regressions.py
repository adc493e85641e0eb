"""Seeds that found a fault once, in a core or in the simulation; `make test` runs them first."""

REGRESSIONS = (
    1, 2, 4, 5, 6, 9, 12, 13, 32, 33,  # a job's ordinal was listed again and counted twice
    47, 2132,  # a singleton at work on two hosts
    7, 15, 26, 38,  # daemons on a host that is emptied
    493,  # a leader that learned of hosts only later was thought to have lost most of them
    76, 95,  # a start of what was held, and a starved daemon
)  # fmt: skip

MUTANT_SEEDS = {
    "challenges a fresh lease": 0,
    "leads beyond its lease": 0,
    "counts the lease from the answer": 0,
    "forgets unknown writes and trusts its memory": 27,
    "never repeats a failed write": 2,
    "never gives a host up": 0,
    "has no patience after a take-over": 1,
    "host goes back": 1,
    "overfills hosts": 0,
    "writes without a fence": 10,
    "no fence on the host": 1,
    "lease without the target": 1,
    "lease counted from the answer's arrival": 4,
    "moves a singleton without proof": 10,
    "trusts what a leader before withdrew": 76,
    "never reverts": 1,
    "counts a job's replica twice": 0,
    "updates beyond its bounds": 0,
    "sleeps through calls": 0,
    "misnames what keeps a replica away": 0,
    "forgets to spread": 0,
    "answers after its lease": 6,
    "replaces a mass at once": 18,
    "tells two things as one": 0,
}
"""The first seed that catches each planted bug."""
