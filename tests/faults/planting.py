"""Splits of every kind in the 3-leaf universe, and leaks planted into their saved files by an oracle of their own."""

import shutil
from dataclasses import dataclass, replace

import naive
import numpy as np

from synthlab.language.grammar import POLYNOMIAL
from synthlab.splits.compositional import CATEGORIES, compositional_settings
from synthlab.splits.density import REGIMES, density_settings, density_split
from synthlab.splits.mcd import mcd_settings, mcd_split
from synthlab.splits.regions import Region
from synthlab.splits.split import Split
from synthlab.splits.support import support_settings, support_split

INSIDE = "minimal inside the support"
REGIONS = {
    "root": Region(rule="root", root="*"),
    "subtree": Region(rule="subtree", subtree="x * y"),
    "quantile": Region(axis=1),
    "shell": Region(rule="shell"),
    "ball": Region(rule="ball", centre="x * y"),
    "cluster": Region(rule="cluster"),
    "box": Region(rule="box", box=((0, -10.0, 0.1), (1, -10.0, 0.1))),
    "outputs": Region(space="semantic", rule="quantile", quantile=0.6),
    "both": Region(space="both", rule="quantile", axis=1, quantile=0.8),
    "placebo": Region(space="semantic", rule="placebo"),
}


def splits_of_every_kind(corpus, spaces):
    """Clean splits by name."""
    support = dict(num_train=300, num_test=25, reserved=0.3)
    drawn = {
        name: support_split(corpus, spaces, support_settings(region, **support)) for name, region in REGIONS.items()
    }
    drawn["root, least"] = support_split(corpus, spaces, support_settings(REGIONS["root"], **support, policy=INSIDE))
    drawn["root, all texts"] = support_split(
        corpus, spaces, support_settings(REGIONS["root"], **support, policy="random")
    )
    for category in CATEGORIES:
        settings = compositional_settings(category, POLYNOMIAL, 3, **(support | {"num_train": None}))
        drawn[f"compositional {category}"] = support_split(corpus, spaces, settings)
    for number, regime in enumerate(REGIMES):
        policy = ("as sampled", "minimal", INSIDE, "random")[number % 4]
        settings = density_settings(regime=regime, num_train=300, num_test=25, num_cells=8, reserved=0.3, policy=policy)
        drawn[f"density {regime}"] = density_split(corpus, spaces, settings)
    fast = dict(num_programs=None, num_test=25, num_starts=1, num_sweeps=20, max_atom_divergence=0.2)
    drawn["mcd"] = mcd_split(corpus, mcd_settings(**fast))
    drawn["mcd, least"] = mcd_split(corpus, mcd_settings(**fast, policy="minimal"))
    return drawn


@dataclass
class World:
    """All texts of the universe as polynomials, expanded by a program of a few lines that shares no code."""

    function: np.ndarray
    length: np.ndarray

    @classmethod
    def of(cls, max_size):
        texts = naive.universe(naive.POLYNOMIAL_ARITIES, max_size, naive.Polynomials())
        return cls(np.array([number for _, number in texts]), np.array([len(tokens) for tokens, _ in texts]))

    def texts(self, functions):
        """Ids of all texts of some functions."""
        return np.flatnonzero(np.isin(self.function, functions))

    def least(self, function):
        """The first text of a function."""
        return int(np.argmax(self.function == function))


def saved(store, split):
    """A split as its files say it, written anew so that every checksum is right."""
    if store.has(Split.stage, split.key):
        shutil.rmtree(store.folder(Split.stage, split.key))
    return Split.load(store, split.save(store))


# ---------------------------------------------------------------- plants


class Planter:
    """Draws places for plants; a plant answers None where a split has no such place."""

    def __init__(self, split, world, seed):
        self.split, self.world, self.rng = split, world, np.random.default_rng(seed)
        self.held = split.held_out(len(world.function))
        self.tested = np.unique(np.concatenate(list(split.tests.values())))
        self.taken = np.unique(world.function[np.concatenate([self.tested, split.reserved])])
        self.part = self.pick([name for name, ids in split.tests.items() if len(ids)])

    def pick(self, choices):
        return choices[int(self.rng.integers(len(choices)))] if len(choices) else None

    def trained(self, text, target=None):
        """A training item replaced."""
        if text is None:
            return None
        train, targets, place = (
            self.split.train.copy(),
            self.split.targets.copy(),
            self.rng.integers(len(self.split.train)),
        )
        train[place], targets[place] = text, text if target is None else target
        return replace(self.split, train=train, targets=targets)

    def with_test(self, part, ids):
        return replace(self.split, tests=self.split.tests | {part: np.asarray(ids)})

    def untaught(self):
        """Functions that are neither trained on nor taken."""
        return np.setdiff1d(self.world.function, np.append(self.world.function[self.split.train], self.taken))

    # -------- functions on both sides

    def a_twin_of_a_tested_function_in_training(self):
        texts = np.setdiff1d(self.world.texts(self.world.function[self.tested]), self.tested)
        return self.trained(self.pick(texts))

    def a_tested_text_in_training(self):
        return self.trained(self.pick(self.tested))

    def a_tested_text_as_the_target_of_another(self):
        return self.trained(self.pick(self.split.train), self.pick(self.tested))

    def a_trained_class_moved_into_a_test(self):
        function = self.world.function[self.pick(self.split.train)]
        return self.with_test(self.part, np.append(self.split.tests[self.part], self.world.least(function)))

    def a_reserved_function_in_training(self):
        spare = np.setdiff1d(self.split.reserved, self.tested)
        return self.trained(self.pick(self.world.texts(self.world.function[spare]))) if len(spare) else None

    def a_reserved_function_struck_out_and_trained_on(self):
        spare = np.setdiff1d(self.split.reserved, self.tested)
        allowed = [text for text in self.world.texts(self.world.function[spare]) if not self.held[text]]
        text = self.pick(allowed) if len(spare) else None
        if text is None or self.split.kind == "mcd":  # what it drew is in no file
            return None
        kept = self.split.reserved[self.world.function[self.split.reserved] != self.world.function[text]]
        return replace(self.trained(text, self.target_of(text)), reserved=kept)

    def target_of(self, text):
        """What the policy teaches for a text."""
        if "minimal" not in self.split.settings["policy"]:
            return text
        texts = self.world.texts(self.world.function[text])
        return int(texts[~self.held[texts]][0])

    def a_tested_function_that_is_no_longer_reserved(self):
        asked = self.pick(self.split.tests[self.part])
        if asked not in self.split.reserved:
            return None
        return replace(self.split, reserved=self.split.reserved[self.split.reserved != asked])

    # -------- what is held out

    def a_held_out_text_in_training(self):
        texts = np.flatnonzero(self.held & ~np.isin(self.world.function, self.taken))
        return self.trained(self.pick(texts))

    def a_held_out_text_as_target(self):
        inside = self.world.texts(self.world.function[self.split.train])
        text = self.pick(inside[self.held[inside]])
        if text is None:
            return None
        same = np.flatnonzero(self.world.function[self.split.train] == self.world.function[text])
        targets = self.split.targets.copy()
        targets[self.pick(same)] = text
        return replace(self.split, targets=targets)

    def a_mask_that_forgets_a_text_that_is_trained_on(self):
        texts = np.flatnonzero(self.held & ~np.isin(self.world.function, self.taken))
        text = self.pick(texts)
        if text is None:
            return None
        held = self.held.copy()
        held[text] = False
        return replace(self.trained(text, text), region=np.packbits(held))

    def a_forced_function_named_id(self):
        lone = np.setdiff1d(self.split.tests.get("forced", ()), self.world.function)[:0]
        forced = self.split.tests.get("forced", lone)
        return self.with_test("id", np.append(self.split.tests["id"], self.pick(forced))) if len(forced) else None

    def an_id_function_named_forced(self):
        if "forced" not in self.split.tests:
            return None
        fresh = np.setdiff1d(self.split.tests["id"], self.split.tests["forced"])
        return self.with_test("forced", np.append(self.split.tests["forced"], self.pick(fresh)))

    def an_id_function_named_compound(self):
        if "compound" not in self.split.tests:
            return None
        return self.with_test("compound", np.append(self.split.tests["compound"], self.pick(self.split.tests["id"])))

    # -------- what is only declared

    def a_target_that_computes_another_function(self):
        text = self.pick(self.split.train)
        others = np.setdiff1d(self.split.targets, self.world.texts(self.world.function[text]))
        return self.trained(text, self.pick(others))

    def a_target_that_the_policy_does_not_teach(self):
        place = self.rng.integers(len(self.split.train))
        texts = self.world.texts(self.world.function[self.split.train[place]])
        targets = self.split.targets.copy()
        text = self.pick(texts[(texts != targets[place]) & ~self.held[texts]])
        if text is None:
            return None
        targets[place] = text
        return replace(self.split, targets=targets)

    def a_training_program_twice(self):
        if self.split.settings.get("share_alone"):
            return None
        place = self.rng.integers(1, len(self.split.train))
        train, targets = self.split.train.copy(), self.split.targets.copy()
        train[place], targets[place] = train[0], targets[0]
        return replace(self.split, train=train, targets=targets)

    def a_test_function_twice(self):
        if self.split.kind == "density":
            return None
        ids = self.split.tests[self.part]
        return self.with_test(self.part, np.append(ids, self.pick(ids)))

    def a_test_function_named_by_another_text(self):
        ids = self.split.tests[self.part].copy()
        place = self.rng.integers(len(ids))
        twin = self.pick(np.setdiff1d(self.world.texts([self.world.function[ids[place]]]), ids[place]))
        if twin is None:
            return None
        ids[place] = twin
        return self.with_test(self.part, ids)

    def a_matched_test_of_other_sizes(self):
        matched, forced = (self.split.tests.get(name, np.empty(0, int)) for name in ("matched_forced", "forced"))
        longer = [
            f
            for f in np.setdiff1d(forced, matched)
            if len(matched) and self.world.length[f] != self.world.length[matched[0]]
        ]
        if not longer:
            return None
        return self.with_test("matched_forced", np.append(self.pick(longer), matched[1:]))

    def a_matched_test_without_its_pair(self):
        matched = self.split.tests.get("matched_id", ())
        return self.with_test("matched_id", matched[1:]) if len(matched) else None

    def an_untested_function_that_nobody_reserved(self):
        free = self.pick(self.untaught())
        texts = self.world.texts([free]) if free is not None else ()
        if not len(texts) or "forced" in self.part:
            return None
        return self.with_test(self.part, np.append(self.split.tests[self.part], texts[0]))

    # -------- what no universe has

    def an_id_beyond_the_universe(self):
        return self.trained(len(self.world.function) + int(self.rng.integers(3)))

    def a_negative_id(self):
        return self.with_test(self.part, np.append(self.split.tests[self.part], -1 - int(self.rng.integers(3))))

    def ids_that_are_no_whole_numbers(self):
        return replace(self.split, train=self.split.train.astype(float), targets=self.split.targets)

    def fewer_targets_than_programs(self):
        return replace(self.split, targets=self.split.targets[:-1])

    def a_mask_of_another_length(self):
        return replace(self.split, region=np.append(self.split.region, np.uint8(0)))

    def an_empty_training_set(self):
        return replace(self.split, train=self.split.train[:0], targets=self.split.targets[:0])

    def an_empty_test(self):
        return self.with_test("id" if self.split.kind == "support" else self.part, np.empty(0, dtype=np.int64))


PLANTS = [name for name in vars(Planter) if name.startswith(("a_", "an_", "ids_", "fewer_"))]


def planted(split, world, plant, seed):
    """A split with one plant, or None."""
    return getattr(Planter(split, world, seed), plant)()
