"""How good and how fast are the recipes of notebook 09 on CIFAR-10? Prints, and merges into data/cifar10_results.json.

    python tests/benchmarks/bench_cifar.py --recipe fast --seeds 3 --data FOLDER
    python tests/benchmarks/bench_cifar.py --recipe strong --seeds 1 --data FOLDER --checkpoint runs/strong

Needs the images (see load_cifar10). ``--change width=48 augment=none`` tries a recipe with fields changed, under
the name given by ``--name``. With ``--checkpoint`` an interrupted run is continued.
"""

from __future__ import annotations

import argparse
import ast
from pathlib import Path

import torch

from course_utils import Dataset
from course_utils.cifar import load_cifar10
from course_utils.files import DATA_FOLDER
from course_utils.topics import t09, t09_exam


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", choices=t09.RECIPES, default="fast")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=DATA_FOLDER)
    parser.add_argument("--images", type=int, help="train on the first so many images only")
    parser.add_argument("--change", nargs="*", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--name", help="what to store the result under (the recipe's name)")
    parser.add_argument("--note", default="", help="said beside the result, for instance: machine shared with others")
    parser.add_argument("--checkpoint", type=Path, help="how the files begin that an interrupted run is continued from")
    parser.add_argument("--results", type=Path, default=t09_exam.STORED)
    options = parser.parse_args()
    changes = dict(text.split("=", 1) for text in options.change)
    augment = {"augment": t09.AUGMENTATIONS[changes.pop("augment")]} if "augment" in changes else {}
    recipe = t09.RECIPES[options.recipe].replace(**{name: literal(text) for name, text in changes.items()}, **augment)
    dataset = load_cifar10(options.data)
    if options.images:
        dataset = Dataset(dataset.train.first(options.images), dataset.val, dataset.test, dataset.name)
    print(dataset, torch.get_num_threads(), "threads,", t09.best_precision(dataset.train.images.device))
    runs = []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        checkpoint = options.checkpoint and options.checkpoint.with_name(f"{options.checkpoint.name}-{seed}.pt")
        runs.append(t09.train_recipe(recipe.replace(seed=seed), dataset, on_epoch=say, checkpoint=checkpoint))
        t09_exam.store_result(options.name or options.recipe, runs, dataset, options.results, note=options.note)


def literal(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except ValueError:                                     # a name: one_cycle
        return text


def say(history, epoch: int) -> None:
    print(f"seed {history.configs[0].seed}  epoch {epoch:2}  training {history.train_accuracy[0, epoch - 1]:.1%}  "
          f"validation {history.val_accuracy[0, epoch - 1]:.2%}  {history.seconds[0]:.0f} s", flush=True)


if __name__ == "__main__":
    main()
