"""Experiments: what the tasks cost and on what they should run, measured by runs that can be made again.

    python -m experiments.e1_baseline [--compute local|modal] [--repeats 5] [--out experiments/results]
    python -m experiments.run_all
    python -m experiments.findings

Belongs here: experiments, their results as JSON, and FINDINGS.md with its plots, which are made from them.
Does not belong here: figures with targets (`benchmarks`), the cost model (`video_pipeline.costs`).
"""
