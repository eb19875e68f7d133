"""What beams are ranked by: log-probability, or the same perturbed, which draws texts without replacement.

Shapes: B tasks, W beams a task, V vocabulary.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from synthlab.learning.batches import scrambled

_UNIFORM_BITS = 53


class Beams:
    """Beams that are ranked by log-probability.

    Attributes
    ----------
    score
        Log-probabilities of the unfinished texts (B, W), minus infinity where there are fewer of them.
    """

    def __init__(self, num: int, width: int, device: torch.device) -> None:
        self.score = torch.full((num, width), -torch.inf, device=device)
        self.score[:, 0] = 0.0  # all beams of a task are alike: one of them starts

    @property
    def exist(self) -> Tensor:
        """Which beams hold a text, bool (B, W)."""
        return ~self.score.isneginf()

    def extend(self, grown: Tensor, position: int) -> Tensor:
        """Keep the best extensions by one token.

        Parameters
        ----------
        grown
            Log-probability that every token adds to a text (B, W, V); minus infinity for what may not follow.
        position
            Where the token stands.

        Returns
        -------
        Tensor
            Places (B, W), in beams times tokens, of what is kept, best first.
        """
        self.score, best = (self.score[..., None] + grown).flatten(1).topk(self.score.shape[1], dim=1)
        return best


class DrawnBeams(Beams):
    """Beams that are ranked by Gumbel-perturbed log-probability: stochastic beam search (Kool et al., ICML 2019).

    The best k of all texts by such a value are a sample of k without replacement, in the order of drawing. The
    value of an unfinished text is the best of its completions', so no beam of k loses one of them. Noise is a
    function of a text and of its task's key, so a wider beam draws the same texts first.

    Parameters
    ----------
    keys
        Of the tasks (B,), int64.
    width
        Number of texts drawn, W.
    temperature
        What log-probabilities are divided by before they are normalized at every token.
    seed
        Of the noise.
    """

    def __init__(self, keys: Tensor, width: int, temperature: float, seed: int) -> None:
        super().__init__(len(keys), width, keys.device)
        self.temperature, self.seed = temperature, seed
        self.keys = keys[:, None].expand(self.score.shape)
        self.perturbed = self.score.double()  # the root's may be any number: it shifts all others alike
        self.log_probability = torch.zeros_like(self.perturbed)

    def extend(self, grown: Tensor, position: int) -> Tensor:
        scaled = (grown.double() / self.temperature).log_softmax(dim=-1).masked_fill(grown.isneginf(), -torch.inf)
        log_probability = self.log_probability[..., None] + scaled
        keys = grown_keys(self.keys, position, grown.shape[2], self.seed)
        perturbed = with_maximum(log_probability + gumbel(keys), self.perturbed)
        self.perturbed, best = perturbed.flatten(1).topk(self.score.shape[1], dim=1)
        self.score, self.log_probability, self.keys = (
            values.flatten(1).gather(1, best) for values in (self.score[..., None] + grown, log_probability, keys)
        )
        return best


def grown_keys(keys: Tensor, position: int, vocabulary: int, seed: int) -> Tensor:
    """Keys (..., V) of what texts become by every token at a position, from their own (...)."""
    token = torch.arange(vocabulary, device=keys.device)
    return scrambled(scrambled(keys, position)[..., None] + token, seed)


def gumbel(keys: Tensor) -> Tensor:
    """Gumbel noise of keys, float64: the largest of logits plus it is a draw from their softmax."""
    uniform = ((keys >> (62 - _UNIFORM_BITS)).double() + 0.5) / 2.0**_UNIFORM_BITS
    return -(-uniform.log()).log()


def with_maximum(perturbed: Tensor, maximum: Tensor) -> Tensor:
    """Gumbel variables (..., V) as if drawn on condition that their largest is `maximum` (...).

    Kool et al. (2019), appendix B.3: with Z the largest of G and T the maximum to be, v = T - G + log(1 - exp(G - Z))
    makes T - max(0, v) - log(1 + exp(-|v|)) of G. Variables of minus infinity stay.
    """
    largest, wanted = perturbed.amax(dim=-1, keepdim=True), maximum[..., None]
    below = perturbed - largest
    rest = torch.where(below > -math.log(2), (-below.expm1()).log(), (-below.exp()).log1p())
    v = wanted - perturbed + rest
    moved = wanted - v.clamp(min=0) - (-v.abs()).exp().log1p()
    moved = torch.where(perturbed == largest, wanted, moved)
    return moved.masked_fill(perturbed.isneginf(), -torch.inf)
