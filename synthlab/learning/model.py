"""A decoder-only transformer: one token per grid row, then the program's prefix tokens.

Shapes: B batch, R grid rows, L program tokens, S = R + L positions, D width, H heads, K head width,
F features a row, V vocabulary of the grammar.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from synthlab.presets import ModelConfig

Cache = list[tuple[Tensor, Tensor]]


class Block(nn.Module):
    """Pre-norm attention and feed-forward layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width, bias=False)
        self.merge = nn.Linear(width, width, bias=False)
        self.norm_forward = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)

    def forward(
        self, x_BSD: Tensor, mask: Tensor | None, past: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        batch, length, width = x_BSD.shape
        qkv = self.queries_keys_values(self.norm_attention(x_BSD)).view(batch, length, 3, self.heads, -1)
        q_BHSK, k_BHSK, v_BHSK = qkv.permute(2, 0, 3, 1, 4)
        if past is not None:
            k_BHSK, v_BHSK = torch.cat([past[0], k_BHSK], dim=2), torch.cat([past[1], v_BHSK], dim=2)
        mixed = F.scaled_dot_product_attention(q_BHSK, k_BHSK, v_BHSK, attn_mask=mask)
        x_BSD = x_BSD + self.merge(mixed.transpose(1, 2).reshape(batch, length, width))
        x_BSD = x_BSD + self.contract(F.gelu(self.expand(self.norm_forward(x_BSD))))
        return x_BSD, (k_BHSK, v_BHSK)


class Synthesizer(nn.Module):
    """Grid outputs in, logits of program tokens out.

    Parameters
    ----------
    config
        Width, layers, heads.
    vocabulary
        Number of tokens of the grammar, V.
    num_rows, row_features
        Patches per grid, R, and features of each, F.
    max_tokens
        Longest program, L.
    """

    def __init__(
        self, config: ModelConfig, *, vocabulary: int, num_rows: int, row_features: int, max_tokens: int
    ) -> None:
        super().__init__()
        self.config = config
        self.num_rows, self.max_tokens, self.vocabulary = num_rows, max_tokens, vocabulary
        self.read_row = nn.Linear(row_features, config.width)
        self.embed = nn.Embedding(vocabulary + 1, config.width)  # the last entry starts a program
        self.place = nn.Parameter(torch.zeros(num_rows + max_tokens, config.width))
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, vocabulary, bias=False)
        self.mask: Tensor
        self.register_buffer("mask", prefix_mask(num_rows, max_tokens), persistent=False)
        self.apply(_initialise)
        nn.init.normal_(self.place, std=0.02)

    def forward(self, rows_BRF: Tensor, tokens_BL: Tensor) -> Tensor:
        """Logits (B, L, V) of each program token given the grid and the tokens before it.

        `tokens_BL` are the targets' tokens (int64; any value behind the end); they are shifted here.
        """
        started = F.pad(tokens_BL[:, :-1].clamp(0, self.vocabulary - 1), (1, 0), value=self.vocabulary)
        x_BSD = torch.cat([self.read_row(rows_BRF), self.embed(started)], dim=1)
        length = x_BSD.shape[1]
        x_BSD = x_BSD + self.place[:length]
        for block in self.blocks:
            x_BSD, _ = block(x_BSD, self.mask[:length, :length])
        return self.head(self.norm(x_BSD[:, self.num_rows :]))

    def start(self, rows_BRF: Tensor) -> tuple[Tensor, Cache]:
        """Logits (B, V) of the first token, and the cache of keys and values to continue from."""
        begin = torch.full((len(rows_BRF), 1), self.vocabulary, device=rows_BRF.device)
        x_BSD = torch.cat([self.read_row(rows_BRF), self.embed(begin)], dim=1) + self.place[: self.num_rows + 1]
        mask = self.mask[: self.num_rows + 1, : self.num_rows + 1]
        cache = []
        for block in self.blocks:
            x_BSD, kept = block(x_BSD, mask)
            cache.append(kept)
        return self.head(self.norm(x_BSD[:, -1])), cache

    def step(self, tokens_B: Tensor, position: int, cache: Cache) -> tuple[Tensor, Cache]:
        """Logits (B, V) of the token after `tokens_B`, which stands at `position` of the program."""
        x_BSD = self.embed(tokens_B)[:, None] + self.place[self.num_rows + 1 + position]
        extended = []
        for block, past in zip(self.blocks, cache, strict=True):
            x_BSD, kept = block(x_BSD, None, past)
            extended.append(kept)
        return self.head(self.norm(x_BSD[:, -1])), extended


def prefix_mask(num_rows: int, max_tokens: int) -> Tensor:
    """Who may look at whom (S, S): grid rows at all grid rows, program tokens at the grid and backwards."""
    mask = torch.ones(num_rows + max_tokens, num_rows + max_tokens).tril().bool()
    mask[:num_rows, :num_rows] = True
    return mask


def num_parameters(model: nn.Module) -> int:
    """Number of trained weights."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02 if isinstance(module, nn.Embedding) else module.weight.shape[1] ** -0.5)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
