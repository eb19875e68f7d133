"""From a configuration to a model: networks by name, and the model that gives one eyes and a language."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, cast

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
_SMALL = Shape(num_patches=2, patch_features=3, vocabulary=5, max_tokens=4)
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
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


def network_identity(config: ModelConfig) -> str:
    """What distinguishes a user's network from others of its name; empty for synthlab's own.

    A hash of the builder's source and enclosed values, of the modules that it builds, and of the source of
    every class among them and their bases that is not PyTorch's.
    """
    if config.network in NETWORKS:
        return ""
    builder = _builder(config.network)
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        network = _built(config, _SMALL)
    kinds = {kind for module in network.modules() for kind in type(module).__mro__}
    own = sorted((k for k in kinds if k.__module__.split(".")[0] not in ("torch", "builtins")), key=repr)
    cells = [repr(cell.cell_contents) for cell in getattr(builder, "__closure__", None) or ()]
    try:
        sources = [inspect.getsource(cast(Any, thing)) for thing in (builder, *own)]
    except (OSError, TypeError) as error:
        raise ConfigurationError(
            f"network {config.network!r} has no source: define it in a file or in a notebook"
        ) from error
    described = _ADDRESS.sub("", "\n".join([repr(network), *cells, *sources]))  # which change with every kernel
    return hashlib.sha256(described.encode()).hexdigest()[:16]


def _builder(name: str) -> Builder:
    if name not in _BUILDERS:
        raise ConfigurationError(
            f"unknown network {name!r}: choose from {', '.join(_BUILDERS)}, or call register_network first"
        )
    return _BUILDERS[name]


def _built(config: ModelConfig, shape: Shape) -> nn.Module:
    network = _builder(config.network)(config, shape)
    if not isinstance(network, nn.Module) or not any(p.requires_grad for p in network.parameters()):
        raise ConfigurationError(f"the builder of network {config.network!r} gives no module with weights to train")
    return network


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
        self.network = _built(config, self.shape)

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

    @torch.no_grad()
    def require_fit(self) -> None:
        """Refuse a network that could not be trained here, before any training.

        Raises
        ------
        ConfigurationError
            If its logits have another shape than asked for, depend on the token that they are to predict, or
            if it keeps what it learns where no checkpoint looks.
        """
        shape, name = self.shape, f"network {self.config.network!r}"
        like = next(self.parameters())
        seen = torch.zeros(2, shape.num_patches, shape.patch_features, device=like.device, dtype=like.dtype)
        tokens = torch.zeros(2, shape.max_tokens, dtype=torch.long, device=like.device)
        with switched(self, training=False):
            logits = self(seen, tokens)
            found, expected = tuple(getattr(logits, "shape", ())), (2, shape.max_tokens, shape.vocabulary)
            if found != expected:
                raise ConfigurationError(f"{name} gives logits {found}, not {expected} (batch, tokens, vocabulary)")
            for place in {0, shape.max_tokens // 2}:
                changed = tokens.clone()
                changed[:, place] = 1
                same = slice(None, place + 1)
                if not torch.allclose(self(seen, changed)[:, same], logits[:, same], atol=1e-4):
                    raise ConfigurationError(f"{name} sees the token that it is to predict: shift its tokens by one")
        hidden = {n: b.clone() for n, b in self.named_buffers() if n not in self.state_dict()}
        with switched(self, training=True), torch.random.fork_rng(devices=[]):
            self(seen, tokens)
        if any(not torch.equal(b, hidden[n]) for n, b in self.named_buffers() if n in hidden):
            raise ConfigurationError(f"{name} changes a buffer that is not persistent: a resumed run would lose it")

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


@contextlib.contextmanager
def switched(model: nn.Module, *, training: bool) -> Iterator[None]:
    """A model in training or evaluation mode for a while; every part of it returns to its own mode."""
    modes = {module: module.training for module in model.modules()}
    model.train(training)
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
