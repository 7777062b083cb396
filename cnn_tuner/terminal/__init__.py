"""What a person sees in a terminal: tables, a line a trial, the live view below them.

May touch rich and the clock that redraws. Builds text; only commands print.
"""
