"""Find the state dict of a DiT in the content of a file, and give its keys their published names. Imports no torch.

The content may hold tensors or their headers (`formats.headers`), so what is decided here about a header holds for the
weights too. A state dict is recognized by one key of a DiT, whatever words come before it: `module.` of
DistributedDataParallel, `_orig_mod.` of torch.compile, `model.` of Lightning.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dit_core.errors import BadRequest

EMA, RAW = "ema", "raw"
PUBLISHED_KEY = "x_embedder.proj.weight"
WRAPPERS = ("_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
_AVERAGE = re.compile(r"(^|[^a-z])(ema|shadow|averaged?|swa)([^a-z]|$)")
_SIGN = re.compile(r"((?:.*\.)?)(?:x_embedder|pos_embed)\.proj\.weight")
_DEEPEST = 4  # dictionaries inside dictionaries

# diffusers' DiTTransformer2DModel -> DiT; the embedders, which diffusers repeats in every block, come first
_EMBEDDERS = {
    "timestep_embedder.linear_1": "t_embedder.mlp.0",
    "timestep_embedder.linear_2": "t_embedder.mlp.2",
    "class_embedder.embedding_table": "y_embedder.embedding_table",
}
_IN_BLOCKS = {
    "norm1.linear": "adaLN_modulation.1",
    "attn1.to_out.0": "attn.proj",
    "ff.net.0.proj": "mlp.fc1",
    "ff.net.2": "mlp.fc2",
}
_OUTSIDE = {
    "pos_embed.proj": "x_embedder.proj",
    "proj_out_1": "final_layer.adaLN_modulation.1",
    "proj_out_2": "final_layer.linear",
}
_QKV = ("to_q", "to_k", "to_v")


@dataclass(frozen=True)
class Weights:
    """A state dict with published names. Each value is a list of tensors to concatenate along the first dimension.

    `place` says where in the file it was, `averaged` whether it is an average, `has_average` whether the file has one.
    """

    state: dict[str, list[Any]]
    place: str
    averaged: bool
    has_average: bool

    def joined(self, join: Callable[[list[Any]], Any]) -> dict[str, Any]:
        """Return one tensor for each name."""
        return {name: join(parts) for name, parts in self.state.items()}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each tensor."""
        return self.joined(_shape_of)


def find_weights(content: Any, name: str, which: str | None = None) -> Weights:
    """Return the weights of the network in the content of a file.

    `which` is `ema` for averaged weights, `raw` for the others; None takes averaged weights if there are any. Raises
    BadRequest, with the name of the file, if there are none or if they belong to another kind of network.
    """
    candidates = list(_candidates(content))
    if not candidates:
        raise BadRequest(_what_it_holds(content, name))
    averaged = [(place, state) for place, state in candidates if _AVERAGE.search(place.lower())]
    raw = [candidate for candidate in candidates if candidate not in averaged]
    wanted = {EMA: averaged, RAW: raw, None: averaged or raw}[which]
    if not wanted:
        other = "raw" if which == EMA else "averaged"
        raise BadRequest(f"{name} has only {other} weights: set weights to {RAW if which == EMA else EMA}.")
    place, state = wanted[0]
    if any(key.startswith("transformer_blocks.") for key in state):
        state = _from_diffusers(state, name)
    else:
        state = {re.sub(r"^dt_embedder\.", "r_embedder.", key): [value] for key, value in state.items()}
    return Weights(state, place.strip("."), wanted is averaged, bool(averaged))


def to_diffusers(state: Mapping[str, Any], depth: int, split: Callable[[Any], Sequence[Any]]) -> dict[str, Any]:
    """Return the state dict of a DiT under the names of diffusers' `DiTTransformer2DModel`.

    `split` divides queries, keys and values. Blocks without embedders of their own get those of the network.
    """
    theirs: dict[str, Any] = {}
    for key, value in state.items():
        block, rest = _numbered(key, "blocks")
        if block is None:
            if _layer(key) in _OUTSIDE.values():
                theirs[_renamed(key, _inverted(_OUTSIDE))] = value
        elif rest.startswith("attn.qkv."):
            for part, values in zip(_QKV, split(value), strict=True):
                theirs[f"transformer_blocks.{block}.{rest.replace('attn.qkv', f'attn1.{part}')}"] = values
        elif _layer(rest) in _IN_BLOCKS.values():
            theirs[f"transformer_blocks.{block}.{_renamed(rest, _inverted(_IN_BLOCKS))}"] = value
    for block in range(depth):
        for layer in _EMBEDDERS.values():
            for parameter in ("weight", "bias"):
                value = state.get(f"blocks.{block}.{layer}.{parameter}", state.get(f"{layer}.{parameter}"))
                if value is not None:
                    renamed = _renamed(f"{layer}.{parameter}", _inverted(_EMBEDDERS))
                    theirs[f"transformer_blocks.{block}.norm1.emb.{renamed}"] = value
    return theirs


def _candidates(content: Any, place: str = "", depth: int = 0) -> "Iterator[tuple[str, dict[str, Any]]]":
    """Yield each state dict of a DiT with the keys that lead to it: `ema.`, `state_dict.model.`."""
    if not isinstance(content, Mapping) or depth > _DEEPEST:
        return
    named = {key: value for key, value in content.items() if isinstance(key, str)}
    tensors = {_unwrapped(key): value for key, value in named.items() if hasattr(value, "shape")}
    prefixes = [match[1] for match in map(_SIGN.fullmatch, tensors) if match]
    for prefix in prefixes:
        others = tuple(other for other in prefixes if other.startswith(prefix) and other != prefix)
        state = {key: value for key, value in tensors.items() if key.startswith(prefix) and not key.startswith(others)}
        yield place + prefix, {key.removeprefix(prefix): value for key, value in state.items()}
    for key, value in named.items():
        yield from _candidates(value, f"{place}{key}.", depth + 1)


def _shape_of(parts: Sequence[Any]) -> tuple[int, ...]:
    """Return the shape of parts that are concatenated along the first dimension."""
    first = tuple(parts[0].shape)
    return (sum(part.shape[0] for part in parts), *first[1:]) if first else ()


def _unwrapped(key: str) -> str:
    return ".".join(part for part in key.split(".") if part not in WRAPPERS)


def _from_diffusers(state: dict[str, Any], name: str) -> dict[str, list[Any]]:
    """Return the weights of a `DiTTransformer2DModel` under published names.

    diffusers has the embedders of timestep and label in every block. Those of the blocks keep their place; those of
    block 0, which also serve the final layer, become the embedders of the network too.
    """
    published: dict[str, list[Any]] = {}
    for key, value in state.items():
        block, rest = _numbered(key, "transformer_blocks")
        if block is None:
            published[_renamed(key, _OUTSIDE)] = [value]
        elif rest.startswith("norm1.emb."):
            renamed = _renamed(rest.removeprefix("norm1.emb."), _EMBEDDERS)
            published[f"blocks.{block}.{renamed}"] = [value]
            if block == 0:
                published[renamed] = [value]
        elif rest.startswith("attn1.to_q."):
            parts = [f"transformer_blocks.{block}.{rest.replace('to_q', part)}" for part in _QKV]
            if missing := [part for part in parts if part not in state]:
                raise BadRequest(f"{name} lacks {missing[0]}: restore it.")
            if odd := [part for part in parts if tuple(state[part].shape) != tuple(value.shape)]:
                raise BadRequest(f"{name} does not fit one network: {key} and {odd[0]} have different shapes.")
            published[f"blocks.{block}.{rest.replace('attn1.to_q', 'attn.qkv')}"] = [state[part] for part in parts]
        elif not rest.startswith(("attn1.to_k.", "attn1.to_v.")):
            published[f"blocks.{block}.{_renamed(rest, _IN_BLOCKS)}"] = [value]
    return published


def _numbered(key: str, blocks: str) -> tuple[int | None, str]:
    """Return the block that a key belongs to, and the rest of the key; None and the key if it belongs to none."""
    match = re.fullmatch(rf"{blocks}\.(\d+)\.(.+)", key)
    return (int(match[1]), match[2]) if match else (None, key)


def _layer(key: str) -> str:
    return key.rpartition(".")[0]


def _inverted(names: Mapping[str, str]) -> dict[str, str]:
    return {new: old for old, new in names.items()}


def _renamed(key: str, names: Mapping[str, str]) -> str:
    layer, _, parameter = key.rpartition(".")
    return f"{names.get(layer, layer)}.{parameter}" if layer else key


def _what_it_holds(content: Any, name: str) -> str:
    """Return why a content is refused: it holds no state dict, or that of another network, whose keys are named."""
    keys = _first_keys(content)
    if not keys:
        return f"{name} holds no state dict: give a checkpoint of fast-DiT or DiT."
    begin = f"{PUBLISHED_KEY} is missing; they begin with {', '.join(keys)}"
    return f"The weights in {name} are not those of a DiT: {begin}."


def _first_keys(content: Any, depth: int = 0) -> Sequence[str]:
    if not isinstance(content, Mapping) or depth > _DEEPEST:
        return ()
    keys = [key for key, value in content.items() if isinstance(key, str) and getattr(value, "shape", ())]
    return keys[:3] or next(filter(None, (_first_keys(value, depth + 1) for value in content.values())), ())
