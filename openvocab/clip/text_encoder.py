"""CLIP's text tower: a vocabulary and prompt templates become normalised embeddings.

Shape letters: T classes, P templates, C joint width, n texts, L tokens.
"""

import logging
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from functools import lru_cache

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openvocab.clip.blocks import Transformer
from openvocab.clip.spec import TextSpec
from openvocab.devices import to_device
from openvocab.interfaces import TextFeatures
from openvocab.versions import weights_key
from openvocab.vocab.cleaning import clean
from openvocab.vocab.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

TEXTS_PER_BATCH = 256  # bounds memory: 847 names in 80 templates are 67,760 texts
CACHED_VOCABULARIES = 8


@lru_cache(maxsize=8)
def shared_tokenizer(context_length: int) -> open_clip.SimpleTokenizer:
    """Makes CLIP's tokenizer once per process and length: its tables take a third of a second and never change.

    Args:
        context_length: tokens, start and end token included.
    """
    return open_clip.SimpleTokenizer(context_length=context_length)


class TextEncoder(nn.Module):
    """Causal text transformer with a cache for evaluation.

    Args:
        spec: sizes.
    """

    def __init__(self, spec: TextSpec):
        super().__init__()
        self.spec = spec
        table = torch.empty(spec.vocab_size, spec.width)  # given, or it would be filled twice
        self.token_embedding = nn.Embedding(spec.vocab_size, spec.width, _weight=table)
        self.positional_embedding = nn.Parameter(torch.empty(spec.context_length, spec.width))
        self.transformer = Transformer(spec.width, spec.layers, spec.heads, spec.mlp_width, spec.quick_gelu)
        self.ln_final = nn.LayerNorm(spec.width)
        self.text_projection = nn.Parameter(torch.empty(spec.width, spec.embed_dim))
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(self.text_projection, std=spec.width**-0.5)
        self._cache: OrderedDict[Hashable, Tensor] = OrderedDict()

    def forward(self, vocabulary: Vocabulary, templates: Sequence[str]) -> TextFeatures:
        """Encodes a vocabulary; in evaluation without gradients the answer is kept for the next call.

        Args:
            vocabulary: T channels; what several synonyms of a channel do is the vocabulary's own rule.
            templates: P texts with one "{}" each.

        Returns:
            Embeddings (T, P, C), L2-normalised. Synonyms are averaged after normalisation, the mean normalised again.

        Raises:
            ValueError: a word is longer than the context.
        """
        words = vocabulary.texts()
        if self.training or torch.is_grad_enabled():
            return TextFeatures(self._encode(words, templates))
        key = self._cache_key(words, tuple(templates))
        kept = self._cache.pop(key, None)  # each step whole: other threads may ask as well, and at worst encode again
        if kept is None:
            kept = self._encode(words, templates)
            logger.debug("encoded %d channels x %d templates", len(words), len(templates))
        self._cache[key] = kept
        while len(self._cache) > CACHED_VOCABULARIES:
            self._cache.popitem(last=False)
        return TextFeatures(kept)

    def remember(self, vocabulary: Vocabulary, templates: Sequence[str], embeddings: Tensor) -> None:
        """Takes embeddings that this very encoder has made before, for calls without gradients in its own precision.

        Args:
            vocabulary: T channels.
            templates: P texts.
            embeddings: (T, P, C) float32, what `forward` would give.
        """
        with torch.inference_mode():
            key = self._cache_key(vocabulary.texts(), tuple(templates))
            self._cache[key] = embeddings.to(self.positional_embedding.device)

    def train(self, mode: bool = True) -> "TextEncoder":
        """Switches the mode and forgets cached embeddings: a write through `.data` leaves no other trace."""
        self._cache.clear()
        return super().train(mode)

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Turns texts into token ids with start and end token, without padding.

        Args:
            texts: n texts.

        Returns:
            n lists of ids.

        Raises:
            ValueError: texts are longer than the context; all are named. Nothing is cut off silently.
        """
        tokenizer = shared_tokenizer(self.spec.context_length)
        start, end = tokenizer.sot_token_id, tokenizer.eot_token_id
        rows = [[start, *tokenizer.encode(clean(text)), end] for text in texts]
        longer = [
            f"{text if len(text) <= 80 else text[:77] + '...'!r} ({len(row)})"
            for text, row in zip(texts, rows)
            if len(row) > self.spec.context_length
        ]
        if longer:
            raise ValueError(
                f"vocabulary: got texts of more tokens than the context of {self.spec.name} holds, "
                f"expected at most {self.spec.context_length}: {', '.join(longer)}"
            )
        return rows

    def encode_tokens(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Encodes token rows.

        Rows are filled up to the longest of the batch only: under the causal mask the end token sees nothing behind it,
        so the answer is that of the full context.

        Args:
            rows: n lists of token ids, each ending with the end token.

        Returns:
            (n, C), not normalised.
        """
        device = self.positional_embedding.device
        longest = max(map(len, rows))
        last = to_device([len(row) - 1 for row in rows], device)
        return self.encode_padded(to_device([[*row, *[0] * (longest - len(row))] for row in rows], device), last)

    def encode_padded(self, tokens: Tensor, last: Tensor) -> Tensor:
        """Encodes token rows of one length.

        Args:
            tokens: (n, L) int64; what stands behind the end token is not read.
            last: (n,) int64, place of the end token.

        Returns:
            (n, C), not normalised.
        """
        x = self.token_embedding(tokens) + self.positional_embedding[: tokens.shape[1]]
        for block in self.transformer.resblocks:
            x = block(x, causal=True)
        x = x[torch.arange(tokens.shape[0], device=tokens.device), last]
        return self.ln_final(x) @ self.text_projection

    def unknown_words(self, vocabulary: Vocabulary) -> list[str]:
        """Names the words that a small CLIP cannot know: those with a token whose embedding is all zero.

        Args:
            vocabulary: the words.

        Returns:
            The unknown ones in order, each once; empty for a model with a full token table.
        """
        words = list(dict.fromkeys(word for channel in vocabulary.texts() for word in channel))
        rows = self.tokenize(words)
        used = sorted({token for row in rows for token in row})
        table = self.token_embedding.weight
        empty = (table[to_device(used, table.device)] == 0).all(dim=1).tolist()  # one question to the device
        unknown = {token for token, nothing in zip(used, empty) if nothing}
        return [word for word, row in zip(words, rows) if unknown.intersection(row)]

    def _encode(self, words: Sequence[Sequence[str]], templates: Sequence[str]) -> Tensor:
        prompts = [[template.format(word) for word in channel] for channel in words for template in templates]
        unique = {text: None for channel in prompts for text in channel}
        rows = dict(zip(unique, self.tokenize(list(unique))))
        ordered = sorted(rows, key=lambda text: len(rows[text]))  # batches of similar length waste least
        batches = [ordered[start : start + TEXTS_PER_BATCH] for start in range(0, len(ordered), TEXTS_PER_BATCH)]
        encoded = torch.cat([self.encode_tokens([rows[text] for text in batch]) for batch in batches])
        encoded = F.normalize(encoded, dim=-1)

        place = {text: index for index, text in enumerate(ordered)}
        source = to_device([place[text] for channel in prompts for text in channel], encoded.device)
        target = to_device([i for i, channel in enumerate(prompts) for _ in channel], encoded.device)
        sums = encoded.new_zeros(len(prompts), encoded.shape[1]).index_add(0, target, encoded[source])
        return F.normalize(sums, dim=-1).unflatten(0, (len(words), len(templates)))

    def _cache_key(self, words: tuple[tuple[str, ...], ...], templates: tuple[str, ...]) -> Hashable:
        device = self.positional_embedding.device.type
        autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        return words, templates, autocast, torch.is_inference_mode_enabled(), weights_key(self)
