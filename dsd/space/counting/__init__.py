"""How `dsd.space.count` counts: begin with `settings` (per-stage) or `lines` (quantised-linear).

settings: each case by the way that suits it      lines: networks of quantised lines
cases: rules sorted by what they couple           tables: stages as tables of choices and costs
dense, later: arrays over a grid of cost          meet: lists of beginnings and ends
planes: rules on cost as half planes              bits: pairs within half planes, 64 at a time
coarse: bounds from costs in whole units
"""
