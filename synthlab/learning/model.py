"""Two transformers that read the outputs on a grid and write a program.

Shapes: B batch, R grid patches, L program tokens, S = R + L positions, D width, H heads, K head width,
F features a patch, V vocabulary of the notation.

A network maps patches (B, R, F) and tokens (B, L) to logits (B, L, V) of every token given those before it.
One that also has `start` and `step` decodes with a cache of keys and values; the cache has its full size
from the start and positions are tensors, so that every step has the same shapes and compiles once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from synthlab.presets import ModelConfig

Cache = list[Tensor]
"""What decoding remembers; every tensor has the batch as its first dimension."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a network must fit: patches R, features a patch F, vocabulary V, longest program L."""

    num_patches: int
    patch_features: int
    vocabulary: int
    max_tokens: int


class Attention(nn.Module):
    """Self-attention whose keys and values may be kept for later positions."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries_keys_values = nn.Linear(width, 3 * width, bias=False)
        self.merge = nn.Linear(width, width, bias=False)

    def forward(
        self, x_BSD: Tensor, mask: Tensor | None, kept: tuple[Tensor, Tensor] | None = None, place: Tensor | None = None
    ) -> Tensor:
        """With `kept`, writes keys and values (B, S, D) at the positions `place`, and attends to all of them."""
        q_BSD, k_BSD, v_BSD = self.queries_keys_values(x_BSD).chunk(3, dim=-1)
        if kept is not None:
            assert place is not None
            k_BSD = kept[0].index_copy_(1, place, k_BSD.to(kept[0].dtype))
            v_BSD = kept[1].index_copy_(1, place, v_BSD.to(kept[1].dtype))
        return self.merge(attend(q_BSD, k_BSD, v_BSD, self.heads, mask))


class CrossAttention(nn.Module):
    """Attention of the program's tokens to the encoded grid."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries = nn.Linear(width, width, bias=False)
        self.keys_values = nn.Linear(width, 2 * width, bias=False)
        self.merge = nn.Linear(width, width, bias=False)

    def forward(self, x_BLD: Tensor, memory_BRC: Tensor) -> Tensor:
        """`memory_BRC` are keys and values side by side, from `Block.remember`."""
        k_BRD, v_BRD = memory_BRC.chunk(2, dim=-1)
        return self.merge(attend(self.queries(x_BLD), k_BRD, v_BRD, self.heads, None))


def attend(q_BSD: Tensor, k_BSD: Tensor, v_BSD: Tensor, heads: int, mask: Tensor | None) -> Tensor:
    """Scaled dot-product attention in heads; `mask` (S, S') says who may look at whom."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q_BSD, k_BSD, v_BSD))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(-2)


class Block(nn.Module):
    """Pre-norm layer: self-attention, attention to an encoder if there is one, and a feed-forward part."""

    def __init__(self, width: int, heads: int, *, reads_encoder: bool = False) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm_cross = nn.LayerNorm(width) if reads_encoder else None
        self.cross = CrossAttention(width, heads) if reads_encoder else None
        self.norm_forward = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)

    def forward(
        self,
        x_BSD: Tensor,
        mask: Tensor | None,
        memory: Tensor | None = None,
        kept: tuple[Tensor, Tensor] | None = None,
        place: Tensor | None = None,
    ) -> Tensor:
        x_BSD = x_BSD + self.attention(self.norm_attention(x_BSD), mask, kept, place)
        if self.cross is not None and self.norm_cross is not None and memory is not None:
            x_BSD = x_BSD + self.cross(self.norm_cross(x_BSD), memory)
        return x_BSD + self.contract(F.gelu(self.expand(self.norm_forward(x_BSD))))

    def remember(self, grid_BRD: Tensor) -> Tensor:
        """Keys and values of the encoded grid (B, R, 2 D), side by side."""
        assert self.cross is not None
        return self.cross.keys_values(grid_BRD)


class Reader(nn.Module):
    """What both networks share: patches and tokens in, logits out."""

    def __init__(self, config: ModelConfig, shape: Shape) -> None:
        super().__init__()
        width = config.width
        self.shape, self.width = shape, width
        self.read_row = nn.Linear(shape.patch_features, width)
        self.embed = nn.Embedding(shape.vocabulary + 1, width)  # the last entry starts a program
        self.place = nn.Parameter(torch.zeros(shape.num_patches + shape.max_tokens, width))
        self.norm = nn.LayerNorm(width)
        self.head = None if config.tied else nn.Linear(width, shape.vocabulary, bias=False)

    def logits(self, x_BLD: Tensor) -> Tensor:
        """Logits (B, L, V) of the next token at every position."""
        x_BLD = self.norm(x_BLD)
        if self.head is not None:
            return self.head(x_BLD)
        return F.linear(x_BLD, self.embed.weight[: self.shape.vocabulary])

    def shifted(self, tokens_BL: Tensor) -> Tensor:
        """Tokens one place to the right, behind the token that starts a program; whatever follows the end is 0."""
        vocabulary = self.shape.vocabulary
        return F.pad(tokens_BL[:, :-1].clamp(0, vocabulary - 1), (1, 0), value=vocabulary)

    def beginning(self, batch: int) -> Tensor:
        """The token that starts a program, embedded, for every row of a batch (B, 1, D)."""
        return self.embed.weight[-1].expand(batch, 1, -1)

    def cache(self, batch: int, length: int, layers: int) -> Cache:
        """Empty keys and values (B, length, D) of all layers, in turn."""
        like = self.place
        return [like.new_zeros(batch, length, self.width) for _ in range(2 * layers)]


class Decoder(Reader):
    """One stack: a token per grid patch, all of which see each other, then the program, which sees backwards."""

    def __init__(self, config: ModelConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.layers))
        self.mask: Tensor
        self.register_buffer("mask", prefix_mask(shape.num_patches, shape.max_tokens), persistent=False)
        _initialise(self)

    def forward(self, patches_BRF: Tensor, tokens_BL: Tensor) -> Tensor:
        """Logits (B, L, V) of each token given the grid and the tokens before it.

        `tokens_BL` are the targets' tokens (int64; any value behind the end); they are shifted here.
        """
        x_BSD = torch.cat([self.read_row(patches_BRF), self.embed(self.shifted(tokens_BL))], dim=1)
        length = x_BSD.shape[1]
        x_BSD = x_BSD + self.place[:length]
        for block in self.blocks:
            x_BSD = block(x_BSD, self.mask[:length, :length])
        return self.logits(x_BSD[:, self.shape.num_patches :])

    def start(self, patches_BRF: Tensor) -> tuple[Tensor, Cache]:
        """Logits (B, V) of the first token, and the cache of keys and values to continue from."""
        batch, read = len(patches_BRF), self.shape.num_patches + 1
        x_BSD = torch.cat([self.read_row(patches_BRF), self.beginning(batch)], dim=1) + self.place[:read]
        cache = self.cache(batch, len(self.place), len(self.blocks))
        positions = torch.arange(read, device=x_BSD.device)
        x_BSD = self._through(x_BSD, self.mask[:read], cache, positions)
        return self.logits(x_BSD[:, -1:])[:, 0], cache

    def step(self, tokens_B: Tensor, position: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        """Logits (B, V) of the token after `tokens_B`, which stand at `position` (1,) of the program."""
        place = position + self.shape.num_patches + 1
        x_BSD = self.embed(tokens_B)[:, None] + self.place.index_select(0, place)
        x_BSD = self._through(x_BSD, self.mask.index_select(0, place), cache, place)
        return self.logits(x_BSD)[:, 0], cache

    def _through(self, x_BSD: Tensor, mask: Tensor, cache: Cache, place: Tensor) -> Tensor:
        for number, block in enumerate(self.blocks):
            x_BSD = block(x_BSD, mask, None, (cache[2 * number], cache[2 * number + 1]), place)
        return x_BSD


class EncoderDecoder(Reader):
    """Two stacks: the grid is encoded once, and every layer of the program's stack reads it."""

    def __init__(self, config: ModelConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        width, heads = config.width, config.heads
        self.encoder = nn.ModuleList(Block(width, heads) for _ in range(config.layers))
        self.norm_encoder = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(Block(width, heads, reads_encoder=True) for _ in range(config.layers))
        self.mask: Tensor
        self.register_buffer("mask", prefix_mask(0, shape.max_tokens), persistent=False)
        _initialise(self)

    def encode(self, patches_BRF: Tensor) -> Tensor:
        """The grid as vectors (B, R, D)."""
        x_BRD = self.read_row(patches_BRF) + self.place[: self.shape.num_patches]
        for block in self.encoder:
            x_BRD = block(x_BRD, None)
        return self.norm_encoder(x_BRD)

    def forward(self, patches_BRF: Tensor, tokens_BL: Tensor) -> Tensor:
        """Logits (B, L, V) of each token given the grid and the tokens before it."""
        grid_BRD = self.encode(patches_BRF)
        length = tokens_BL.shape[1]
        x_BLD = self.embed(self.shifted(tokens_BL)) + self._places()[:length]
        for block, memory in zip(self.blocks, self._memories(grid_BRD), strict=True):
            x_BLD = block(x_BLD, self.mask[:length, :length], memory)
        return self.logits(x_BLD)

    def start(self, patches_BRF: Tensor) -> tuple[Tensor, Cache]:
        """Logits (B, V) of the first token, and what later tokens read: the grid, then earlier tokens."""
        grid_BRD, batch = self.encode(patches_BRF), len(patches_BRF)
        cache = [*self._memories(grid_BRD), *self.cache(batch, self.shape.max_tokens, len(self.blocks))]
        place = torch.zeros(1, dtype=torch.long, device=grid_BRD.device)
        return self._next(self.beginning(batch), place, cache)

    def step(self, tokens_B: Tensor, position: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        """Logits (B, V) of the token after `tokens_B`, which stand at `position` (1,) of the program."""
        return self._next(self.embed(tokens_B)[:, None], position + 1, cache)

    def _memories(self, grid_BRD: Tensor) -> list[Tensor]:
        """What every layer of the program's stack reads of the encoded grid."""
        return [cast(Block, block).remember(grid_BRD) for block in self.blocks]

    def _next(self, x_BLD: Tensor, place: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        x_BLD = x_BLD + self._places().index_select(0, place)
        mask, num = self.mask.index_select(0, place), len(self.blocks)
        for number, block in enumerate(self.blocks):
            kept = cache[num + 2 * number], cache[num + 2 * number + 1]
            x_BLD = block(x_BLD, mask, cache[number], kept, place)
        return self.logits(x_BLD)[:, 0], cache

    def _places(self) -> Tensor:
        return self.place[self.shape.num_patches :]


def prefix_mask(num_patches: int, max_tokens: int) -> Tensor:
    """Who may look at whom (S, S): grid patches at all of them, program tokens at the grid and backwards."""
    mask = torch.ones(num_patches + max_tokens, num_patches + max_tokens).tril().bool()
    mask[:num_patches, :num_patches] = True
    return mask


def num_parameters(model: nn.Module) -> int:
    """Number of trained weights."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _initialise(network: Reader) -> None:
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            spread = 0.02 if isinstance(module, nn.Embedding) else module.weight.shape[1] ** -0.5
            nn.init.normal_(module.weight, std=spread)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    nn.init.normal_(network.place, std=0.02)
