"""Files that other people's servers need to run an exported detector: DeepStream and Triton.

Each states what the graph and its manifest say; nothing in them is a guess a user has to correct
by hand.
"""
