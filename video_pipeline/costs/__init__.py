"""What work costs in dollars.

Belongs here: arithmetic on prices that are given to it. Does not belong here: the prices themselves, which
are dated data beside what they are the prices of (`modal_ops/prices.json`), and who refuses what
(`modal_ops.guard`).
"""
