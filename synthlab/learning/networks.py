"""From a configuration to a model: networks by name, and the model that gives one eyes and a language."""

from __future__ import annotations

import hashlib
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from synthlab.errors import ArtifactError, ConfigurationError
from synthlab.language.grammar import Grammar
from synthlab.language.notation import Notation
from synthlab.learning.encoding import check_outputs, num_patches, patch_features, patches
from synthlab.learning.model import Cache, Decoder, EncoderDecoder, Shape
from synthlab.presets import NETWORKS, ModelConfig

Builder = Callable[[ModelConfig, Shape], nn.Module]
_BUILDERS: dict[str, Builder] = dict(zip(NETWORKS, (Decoder, EncoderDecoder), strict=True))


def register_network(name: str, builder: Builder) -> Builder:
    """Make a network of your own known by a name, to be used as ``ModelConfig(network=name)``.

    Parameters
    ----------
    name
        Any text that is not taken by synthlab.
    builder
        Called with the configuration and the `Shape` to fit; returns a module that maps patches (B, R, F) and
        tokens (B, L) to logits (B, L, V) of every token given those before it. A class with such an
        ``__init__`` is a builder. With methods `start` and `step` like `model.Decoder` it decodes with a
        cache, without them by calling the module once per token.

    Raises
    ------
    ConfigurationError
        If the name is synthlab's own.
    """
    if name in NETWORKS or not name:
        raise ConfigurationError(f"network {name!r} is synthlab's own: choose another name")
    _BUILDERS[name] = builder
    return builder


def network_identity(name: str) -> str:
    """What distinguishes a user's network from others of its name: a hash of its source; empty for synthlab's own."""
    if name in NETWORKS:
        return ""
    try:
        source = textwrap.dedent(inspect.getsource(_builder(name)))
    except (OSError, TypeError) as error:
        raise ConfigurationError(f"network {name!r} has no source: define it in a file or in a notebook") from error
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def _builder(name: str) -> Builder:
    if name not in _BUILDERS:
        raise ConfigurationError(
            f"unknown network {name!r}: choose from {', '.join(_BUILDERS)}, or call register_network first"
        )
    return _BUILDERS[name]


class Synthesizer(nn.Module):
    """Outputs in, programs out: a network with the encoding that it reads and the notation that it writes.

    Parameters
    ----------
    config
        Size, network, encoding, notation.
    grammar, max_size, measure
        The language and the bound N on answers, to which ``config.room`` is added.
    """

    def __init__(self, config: ModelConfig, grammar: Grammar, max_size: int, measure: str = "leaves") -> None:
        super().__init__()
        self.config, self.grammar = config, grammar
        self.max_size, self.measure = max_size + config.room, measure
        self.notation = Notation(grammar, config.notation)
        self.shape = Shape(
            num_patches=num_patches(grammar.grid),
            patch_features=patch_features(grammar.grid, config.encoding),
            vocabulary=len(self.notation.tokens),
            max_tokens=self.notation.max_length(self.max_size, measure),
        )
        self.network = _builder(config.network)(config, self.shape)

    def forward(self, patches_BRF: Tensor, tokens_BL: Tensor) -> Tensor:
        """Logits (B, L, V) of every token given the grid and the tokens before it."""
        return self.network(patches_BRF, tokens_BL)

    def read(self, outputs: Tensor) -> Tensor:
        """Patches (B, R, F) of outputs on the grid (B, G)."""
        return patches(outputs, self.grammar.grid, self.config.encoding)

    def look(self, outputs: np.ndarray) -> Tensor:
        """Outputs (T, G) as float64 on the device of the model.

        Raises
        ------
        ConfigurationError
            If they overflow the encodings.
        """
        check_outputs(outputs)
        device = next(self.parameters()).device
        return torch.from_numpy(np.asarray(outputs, dtype=np.float64)).to(device)

    @property
    def keeps_cache(self) -> bool:
        """Whether the network decodes with a cache of its own."""
        return hasattr(self.network, "start") and hasattr(self.network, "step")

    def start(self, patches_BRF: Tensor) -> tuple[Tensor, Cache]:
        """Logits (B, V) of the first token, and what `step` goes on from."""
        if self.keeps_cache:
            return self._network.start(patches_BRF)
        tokens = torch.zeros(len(patches_BRF), self.shape.max_tokens, dtype=torch.long, device=patches_BRF.device)
        return self(patches_BRF, tokens)[:, 0], [patches_BRF, tokens]

    def step(self, tokens_B: Tensor, position: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        """Logits (B, V) of the token after `tokens_B`, which stand at `position` (1,)."""
        if self.keeps_cache:
            return self._network.step(tokens_B, position, cache)
        patches_BRF, tokens = cache
        tokens = tokens.index_copy(1, position, tokens_B[:, None])
        return self(patches_BRF, tokens).index_select(1, position + 1)[:, 0], [patches_BRF, tokens]

    @property
    def _network(self) -> Any:
        return self.network

    def require_fit(self) -> None:
        """Refuse a network whose logits have another shape than asked for, before any training.

        Raises
        ------
        ConfigurationError
            With both shapes.
        """
        shape = self.shape
        like = next(self.parameters())
        seen = torch.zeros(2, shape.num_patches, shape.patch_features, device=like.device, dtype=like.dtype)
        tokens = torch.zeros(2, shape.max_tokens, dtype=torch.long, device=like.device)
        with torch.no_grad():
            found = tuple(self(seen, tokens).shape)
        expected = (2, shape.max_tokens, shape.vocabulary)
        if found != expected:
            raise ConfigurationError(
                f"network {self.config.network!r} gives logits {found}, not {expected} (batch, tokens, vocabulary)"
            )

    def load_weights(self, weights: dict[str, Tensor]) -> Synthesizer:
        """Weights of a plain or of a compiled model, in place; nothing may be missing or left over.

        Raises
        ------
        ArtifactError
            If they belong to another model.
        """
        plain = {name.replace("_orig_mod.", ""): value for name, value in weights.items()}
        try:
            self.load_state_dict(plain, strict=True)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise ArtifactError(f"the weights belong to another model ({reason}): train again") from error
        return self
