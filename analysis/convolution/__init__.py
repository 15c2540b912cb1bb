"""A convolution, written as attention: each head reads one place of the kernel.

Cordonnier et al. 2020 (arXiv:1911.03584), theorem 1: K^2 heads with relative positions can be any K x K convolution.
Two things belong to that. Where a head's place lies outside the grid, softmax gives its weight to the nearest token
inside: that is a convolution with edge padding. It is not the zero padding of models.mixers.Convolution, which equals
it in the interior alone, K // 2 tokens away from the border; to have that too, the grid must be surrounded by tokens of
zeros. And each head must be as wide as the convolution's narrower side: a layer that gives its K^2 heads
embed_dim / K^2 channels each can only be a convolution whose K^2 matrices have no higher rank.
"""
