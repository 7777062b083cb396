"""A run from its request to its export: plan, loop, budget, finalists, winner, going on later.

The only room besides training that reads clocks to decide. Talks to people through an observer alone.
"""
