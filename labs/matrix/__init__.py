"""The matrix: every pair of NAPT types, every way to talk directly; predicted, and then tried.

prediction.py  what must come of it, from the NAPTs' behaviors alone: read it first
"""
