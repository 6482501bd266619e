"""Every figure and measured number of README and docs, from one command.

    python -m scripts.figures --list                     # what there is, the command that makes it, what it costs
    python -m scripts.figures                            # pages and plots from the records of docs/measured: seconds
    python -m scripts.figures --quick                    # the cheap studies, the demo and the served pages too: minutes
    python -m scripts.figures --all --data DIR           # every study and every picture: days of one core; goes on where it was killed
    python -m scripts.figures --check                    # writes nothing; exit 1 where a committed page, plot or cheap record differs
    python -m scripts.figures --only demo.jpg rounds     # these figures and records alone, whatever they cost

A *record* (docs/measured/NAME.json) holds what a study printed. A page shows a table of it between markers; sentences that repeat a number are
filled from it (docs/measured/quoted.toml).
"""
