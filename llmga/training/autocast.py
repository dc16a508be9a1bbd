"""What autocast computes in half precision, in single precision, and in the widest of its inputs' formats.

CUDA's own lists, by the names of operations (ATen/autocast_mode.h).
"""

LOWER = (
    *("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "convolution", "_convolution", "matmul"),
    *("linear", "addmm", "addmv", "addbmm", "baddbmm", "bmm", "mm", "mv", "chain_matmul", "prelu", "einsum"),
    "scaled_dot_product_attention",
)
SINGLE = (
    *("acos", "asin", "cosh", "erfinv", "exp", "expm1", "log", "log10", "log2", "log1p", "reciprocal", "rsqrt", "sinh"),
    *("tan", "pow", "softplus", "layer_norm", "native_layer_norm", "group_norm", "cosine_similarity", "nll_loss"),
    *("l1_loss", "smooth_l1_loss", "mse_loss", "kl_div", "cross_entropy_loss", "binary_cross_entropy_with_logits"),
    *("cdist", "renorm", "logsumexp", "prod", "softmax", "log_softmax", "cumprod", "cumsum", "sum", "nll_loss_nd"),
    *("huber_loss", "norm", "upsample_bicubic2d", "upsample_bilinear2d", "upsample_nearest2d", "rms_norm"),
)
WIDEST = ("addcdiv", "addcmul", "atan2", "cross", "dot", "grid_sampler", "index_put", "scatter_add", "cat", "stack")
