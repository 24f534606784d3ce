"""The audit: what a generator still makes of a protected video, measured on the decoded file.

`run.audit` is the way in; `report.write_report` makes the page. The parts: pairing by timestamp, quality, flicker,
disruption by the zoo's generators, and the confidence interval.
"""
