"""Cores that choose where a call goes."""
