"""Measures the product against peers: paired runs, intervals, and no verdict where they straddle."""
