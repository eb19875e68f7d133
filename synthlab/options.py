"""Options of the command line; their help is its documentation."""

from __future__ import annotations

import argparse
import sys
from typing import Any, NoReturn

from synthlab.presets import MEASURES

DESCRIPTION = """\
Find out how far a neural program synthesizer really generalizes.

The stages, in order:
  enumerate   every program text and every function up to a size
  sample      random programs of one size, from universes of any size
  embed       place programs (pq-grams, SVD) and functions (outputs, PCA)
  split       draw a train/test split that isolates one shift; save it under a name
  audit       recompute a saved split from its ids and look for leaks
  shift       measure how far the tests of a saved split are from its training
  train       train a transformer on a saved split
  evaluate    pass@1 and pass@k of a trained run on every test set
  verdict     train a small model on a saved split, and let search compete at equal total cost
  search      find a program for given outputs without a model
  study       all runs of a preset, and the claims they test
  contest     model, search and both together on equal terms
  tune        learning rates by model size, and variants of the model
  export      every figure, table and model card of a study as files
  score       grade the predictions of any system on the frozen benchmark
  prompts     the tasks of the benchmark as text for systems that read text
  predict     what a model or a search of synthlab answers to the benchmark
  run         execute all notebooks into build/ and link the pages
  verify      rehash everything in the store
  doctor      check the installation, and say what mends it
One program at a time: parse, same, eval, pqgram."""


class _OneLineParser(argparse.ArgumentParser):
    """Reports bad options like every other bad input: one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; see {self.prog} --help", file=sys.stderr)
        sys.exit(2)


def build_parser() -> argparse.ArgumentParser:
    """Parser of all subcommands; `command` in its result names the one asked for."""
    parser = _OneLineParser(
        prog="synthlab", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_program_commands(commands)
    _add_universe_commands(commands)
    _add_split_commands(commands)
    _add_learning_commands(commands)
    _add_whole_commands(commands)
    _add_benchmark_commands(commands)
    return parser


def _command(commands: Any, name: str, text: str) -> Any:
    command = commands.add_parser(
        name, help=text, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    command.set_defaults(command=name)
    command.add_argument("--grammar", default="polynomial", help="name of a registered grammar")
    command.add_argument("--json", action="store_true", help="print one JSON object; progress goes to stderr")
    return command


def _add_preset(command: Any) -> None:
    command.add_argument("--preset", default="quick", help="settings to start from: tiny, quick, paper or cluster")
    _add_bound(command, "size of the universe; the preset's by default")


def _add_bound(command: Any, text: str, *, required: bool = False) -> None:
    bound = command.add_mutually_exclusive_group(required=required)
    for measure in MEASURES:
        bound.add_argument(f"--{measure}", type=int, default=None, help=f"{text}, in {measure}")


def bound_of(options: argparse.Namespace) -> tuple[int, str] | None:
    """Size and measure asked for, if any."""
    return next(((getattr(options, m), m) for m in MEASURES if getattr(options, m, None) is not None), None)


def _add_program_commands(commands: Any) -> None:
    command = _command(commands, "parse", "read a program in infix or prefix notation")
    command.add_argument("text", help="for example 'x*(y+1)' or '* x + y 1'")
    command = _command(commands, "same", "decide whether two programs are the same function")
    command.add_argument("first")
    command.add_argument("second")
    command = _command(commands, "eval", "evaluate a program exactly at one point")
    command.add_argument("text")
    command.add_argument("--x", help="value of x, for example 1/3")
    command.add_argument("--y", help="value of y")
    command.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="value of another variable")
    command = _command(commands, "pqgram", "pq-gram distances of two programs")
    command.add_argument("first")
    command.add_argument("second")
    command.add_argument("--p", type=int, default=2, help="length of the stem")
    command.add_argument("--q", type=int, default=3, help="length of the base")
    command = _command(commands, "search", "find a program for the grid outputs of a target, without a model")
    command.add_argument("--target", required=True, help="its outputs are shown to the solver, its text never is")
    command.add_argument("--budget-seconds", type=float, default=10.0, help="wall-clock limit")
    command.add_argument(
        "--method", choices=("enumeration", "library", "two-level"), default="enumeration",
        help="enumerate; meet in the middle of a library; or do that again for what is left of the target",
    )  # fmt: skip
    command.add_argument("--library", type=int, default=6, help="size of the library's functions")
    _add_bound(command, "largest program to try (8 leaves by default)")


def _add_universe_commands(commands: Any) -> None:
    command = _command(commands, "enumerate", "count and list every program and function up to a size")
    _add_bound(command, "largest program", required=True)
    command.add_argument(
        "--functions-only", action="store_true", help="grow functions without listing texts; stores nothing by itself"
    )
    command.add_argument("--plan", action="store_true", help="only predict counts, memory, disk and seconds")
    command.add_argument("--on-disk", action="store_true", help="write pieces to the store; interrupted work goes on")
    command.add_argument("--memory-gb", type=float, default=None, help="memory allowed; 80 %% of the free by default")
    command.add_argument("--workers", type=int, default=None, help="pieces made at a time; all cores by default")
    command = _command(commands, "sample", "draw programs of one size uniformly, from universes of any size")
    _add_bound(command, "size of every program", required=True)
    command.add_argument("--num", type=int, default=10, help="how many")
    command.add_argument("--seed", type=int, default=0)
    command = _command(commands, "embed", "fit the syntactic and the semantic space")
    _add_preset(command)


def _add_split_commands(commands: Any) -> None:
    command = _command(commands, "split", "draw a split, audit it and save it under a name")
    _add_preset(command)
    command.add_argument("--kind", choices=["support", "density", "compositional", "mcd"], default="support")
    command.add_argument("--space", default="syntactic", help="syntactic, semantic, both or shape")
    command.add_argument("--rule", default="root", help="region: quantile, shell, ball, hull, cluster, root, ...")
    command.add_argument("--axis", type=int, default=0, help="axis of a quantile rule")
    command.add_argument("--quantile", type=float, default=0.7)
    command.add_argument("--below", action="store_true", help="hold out what lies below the quantile")
    command.add_argument("--clusters", type=int, default=20, help="number of clusters")
    command.add_argument("--held", type=int, default=6, help="number of clusters held out")
    command.add_argument("--root", default="*", help="root operator held out")
    command.add_argument(
        "--region", action="append", default=[], metavar="NAME=VALUE", help="any other parameter of the region, as JSON"
    )
    command.add_argument("--category", default="compose", help="of compositional splits: length, compose, order, ...")
    command.add_argument("--isolated", action="store_true", help="resample until the other space sees no shift")
    command.add_argument("--match", nargs="*", default=None, help="what matched tests have in common")
    command.add_argument("--regime", default="random", help="random, syntactic, semantic, dual or class")
    command.add_argument("--cells", default="kmeans", help="cells of a space: kmeans, grid or farthest")
    command.add_argument("--concentration", type=float, default=0.0, help="0: equal cells, 1: as in the pool")
    command.add_argument("--match-size", action="store_true", help="give every regime the pool's histogram of sizes")
    command.add_argument("--num-train", type=int, default=None, help="training programs; the whole pool by default")
    command.add_argument("--reserved", type=float, default=None, help="share of classes never trained on")
    command.add_argument("--policy", default="as sampled", help="text to learn: 'as sampled', 'minimal', ...")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--name", help="name to save it under")
    command = _command(commands, "audit", "look for leaks in a saved split; exit code 1 if there are any")
    command.add_argument("split", help="name or key")
    command.add_argument("--spaces", action="store_true", help="also embed its texts afresh and ask the region again")
    command = _command(commands, "shift", "measure how far the tests of a saved split are from its training programs")
    _add_preset(command)
    command.add_argument("split", help="name or key")
    command.add_argument("--sample", type=int, default=2000, help="programs of either side that are compared")


def _add_learning_commands(commands: Any) -> None:
    command = _command(commands, "train", "train a transformer on a saved split, or go on where it stopped")
    _add_preset(command)
    command.add_argument("--split", required=True, help="name or key")
    command.add_argument("--model", default="64x2", help="<width>x<layers>")
    command.add_argument("--steps", type=int, default=1000)
    command.add_argument("--batch-size", type=int, default=256)
    command.add_argument("--learning-rate", type=float, default=None, help="the measured one of the width by default")
    command.add_argument("--devices", type=int, default=1, help="devices for Lightning's Trainer")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE",
        help="any other field of ModelConfig or TrainingConfig, for example notation=postfix or schedule=wsd",
    )  # fmt: skip
    command.add_argument("--name", help="name to save the run under")
    command = _command(commands, "evaluate", "pass@1, and pass@k of independent samples, by test set")
    _add_preset(command)
    command.add_argument("run", help="name or key")
    command.add_argument("--samples", type=int, default=1, help="independent samples per task")
    command.add_argument("--temperature", type=float, default=1.0, help="of the samples")
    command.add_argument("--top-p", type=float, default=1.0, help="sample from the fewest tokens of this probability")
    command.add_argument("--grammatical", action="store_true", help="only tokens that can still become a program")
    command.add_argument("--seed", type=int, default=0, help="of the samples")
    command.add_argument("--k", type=int, nargs="+", default=[1], help="values of k, at most --samples")
    command = _command(commands, "verdict", "train a small model on a saved split, test it, and let search compete")
    _add_preset(command)
    command.add_argument("split", help="name or key")
    command.add_argument("--steps", type=int, default=None, help="of the training; those of the preset's short runs")
    command.add_argument("--tasks", type=int, default=100, help="drawn of every test set")
    command.add_argument("--seed", type=int, default=0, help="of the training and of the tasks")


def _add_whole_commands(commands: Any) -> None:
    command = _command(commands, "study", "run the trials of a preset that are not done, and test the claims")
    command.add_argument("study_preset", metavar="PRESET", nargs="?", default="quick")
    _add_bound(command, "size of the universe; the preset's by default")
    command.add_argument("--plan", action="store_true", help="only say what would run, and what that takes")
    command.add_argument(
        "--tflops", type=float, default=None, help="plan for a machine of so many 1e12 operations a second"
    )
    command.add_argument("--groups", nargs="*", default=[], help="density, support, scaling; all by default")
    command.add_argument("--seeds", type=int, nargs="*", default=[], help="the preset's by default")
    command.add_argument("--minutes", type=float, default=None, help="end this slice after so long; run again to go on")
    command.add_argument(
        "--workers", type=int, default=None, help="trials at a time; one per core by default, 1 on a GPU"
    )
    command.add_argument("--retry", action="store_true", help="try again what was refused because of its settings")
    command.add_argument("--pack", metavar="FOLDER", help="write the outcomes of what is done into zip files")
    command.add_argument(
        "--merge", metavar="FILE", nargs="*", default=[], help="first take in outcomes of other machines"
    )
    command = _command(commands, "contest", "let model, search and both compete; what was held before is loaded")
    command.add_argument("contest_preset", metavar="PRESET", nargs="?", default="quick")
    command.add_argument("--seeds", type=int, nargs="+", default=None, help="the preset's by default")
    _add_bound(command, "size of the universe; the preset's by default")
    command = _command(commands, "tune", "measure learning rates by model size, and variants of the model")
    command.add_argument("tuned_preset", metavar="PRESET", nargs="?", default="quick")
    _add_bound(command, "size of the universe; the preset's by default")
    command.add_argument("--no-rates", action="store_true", help="leave the learning rates out")
    command.add_argument("--variants", nargs="*", default=None, help="which variants; all by default")
    command = _command(commands, "export", "write every figure, table and model card of a study")
    command.add_argument("exported_preset", metavar="PRESET", nargs="?", default="quick")
    command.add_argument("--to", metavar="FOLDER", default="build/export")
    command = _command(commands, "run", "execute the notebooks in order into build/ and link the pages")
    command.add_argument("run_preset", metavar="PRESET", nargs="?", default="quick")
    command.add_argument("--only", default="", help="prefix of the notebooks to run, for example 03")
    command.add_argument("--in-place", action="store_true", help="also write the executed notebooks back")
    _command(commands, "verify", "rehash everything in the store; exit code 1 if anything is damaged")
    _command(commands, "doctor", "check versions, GPU, threads, disk, notebooks, fonts; exit code 1 if something fails")


def _add_benchmark_commands(commands: Any) -> None:
    command = _command(commands, "score", "grade predictions (JSON lines or Parquet: task, rank, program)")
    command.add_argument("file", help="predictions; data/results/benchmark/README.md says how they are written")
    command.add_argument("--extra-size", type=int, default=0, help="how much larger than the bound an answer may be")
    command.add_argument("--record", action="store_true", help="add the scores to those kept beside the benchmark")
    command.add_argument("--beside", action="store_true", help="also print the scores kept there")
    command = _command(commands, "prompts", "write the tasks of one split of the benchmark as text, one JSON line each")
    command.add_argument("file")
    command.add_argument("--split", required=True, help="for example polynomial-root")
    command.add_argument("--parts", nargs="*", default=None, help="id, forced, ...; all by default")
    command.add_argument("--examples", type=int, default=0, help="solved training programs before every task")
    command.add_argument("--seed", type=int, default=0)
    command = _command(commands, "predict", "train on a split of the benchmark and write what the model answers")
    command.add_argument("file", help="predictions, as .jsonl or .parquet")
    command.add_argument("--split", required=True, help="for example polynomial-root")
    command.add_argument("--model", default="64x2", help="<width>x<layers>, at the measured rate of its width")
    command.add_argument("--steps", type=int, default=5000)
    command.add_argument("--batch-size", type=int, default=128)
    command.add_argument("--beam", type=int, default=0, help="so many candidates of a beam instead of the greedy one")
    command.add_argument("--programs", type=int, default=None, help="enumerate at most so many programs a task instead")
    command.add_argument("--seed", type=int, default=0)
