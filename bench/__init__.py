"""Measures the product against peers: paired runs, intervals, no verdict where they straddle."""
