"""Evaluate control success of any responses and key given as files."""

from __future__ import annotations

import argparse
import sys

from protocols import DataError, evaluate, read_key, read_responses


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("responses", help="responses in HDF5 (schema responses/1)")
    parser.add_argument("key", help="the sealed key.csv of the round that was shown")
    parser.add_argument("--alpha", type=float, default=0.01)
    parser.add_argument("--permutations", type=int, default=9999)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--csv", help="write one line per controller")
    parser.add_argument("--json", help="write the whole report")
    args = parser.parse_args()
    try:
        responses, key = read_responses(args.responses), read_key(args.key)
        report = evaluate(responses, key, alpha=args.alpha, permutations=args.permutations, seed=args.seed)
    except DataError as error:
        print(error, file=sys.stderr)
        return 3
    print(report.summary())
    if args.csv:
        report.to_csv(args.csv)
    if args.json:
        report.to_json(args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
