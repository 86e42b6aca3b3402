"""The operators that a program of torch.export may use: PyTorch's own (ATen), of those that compute with tensors.

What is not among them: whatever reads files, makes a tensor over memory that it does not own, changes a tensor's
storage, trains, or gives a number that shapes could depend on. The list is no wall (the process is); it keeps what a
graph can reach small, and says early what is not known.
"""

_POINTWISE = """
abs acos acosh add addcdiv addcmul asin asinh atan atan2 atanh bitwise_and bitwise_left_shift bitwise_not bitwise_or
bitwise_right_shift bitwise_xor ceil clamp clamp_max clamp_min copysign cos cosh div eq erf erfc exp exp2 expm1 floor
floor_divide fmod ge greater greater_equal gt hypot isfinite isinf isnan le lerp less less_equal log log10 log1p log2
logaddexp logical_and logical_not logical_or logical_xor logit lt masked_fill maximum minimum mul nan_to_num ne neg pow
reciprocal remainder round rsqrt rsub sgn sigmoid sign sin sinh sqrt square sub tan tanh true_divide trunc where xlogy
"""
_ACTIVATIONS = """
celu elu gelu glu hardshrink hardsigmoid hardswish hardtanh leaky_relu log_sigmoid log_softmax mish prelu relu relu6
rrelu selu silu softmax softplus softshrink threshold _log_softmax _prelu_kernel _softmax
"""
_LAYERS = """
adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d avg_pool1d
avg_pool2d avg_pool3d batch_norm bilinear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d
convolution cosine_similarity dropout dropout_ embedding feature_dropout group_norm gru instance_norm layer_norm linear
lstm max_pool1d max_pool2d max_pool2d_with_indices max_pool3d max_pool3d_with_indices native_group_norm
native_layer_norm rms_norm scaled_dot_product_attention _adaptive_avg_pool2d _adaptive_avg_pool3d
_convolution _native_batch_norm_legit_no_training _scaled_dot_product_flash_attention_for_cpu
"""
_ALGEBRA = """
addbmm addmm addmv baddbmm bmm cdist cross dot einsum inner linalg_vector_norm linalg_norm matmul mm mv norm outer
_cdist_forward
"""
_REDUCTIONS = """
all amax amin any argmax argmin argsort bucketize count_nonzero cummax cummin cumprod cumsum histc logsumexp max mean
median min prod sort std std_mean sum topk var var_mean
"""
_SHAPES = """
alias as_strided atleast_1d atleast_2d atleast_3d block_diag broadcast_tensors broadcast_to cat channel_shuffle chunk
clone col2im column_stack concat concatenate constant_pad_nd contiguous copy detach detach_ diag diag_embed diagonal
dstack expand expand_as flatten flip fliplr flipud gather grid_sampler grid_sampler_2d grid_sampler_3d hsplit hstack
im2col index index_add index_copy index_fill index_put index_select lift_fresh lift_fresh_copy masked_scatter meshgrid
moveaxis movedim narrow narrow_copy native_channel_shuffle numpy_T pad permute permute_copy pixel_shuffle
pixel_unshuffle ravel reflection_pad1d reflection_pad2d reflection_pad3d repeat repeat_interleave replication_pad1d
replication_pad2d replication_pad3d reshape reshape_as roll rot90 scatter scatter_add scatter_reduce select
select_scatter slice slice_scatter split split_with_sizes squeeze stack swapaxes swapdims t take take_along_dim
tensor_split tile to transpose transpose_copy tril triu type_as unbind unflatten unfold unsafe_chunk unsafe_split
unsafe_split_with_sizes unsqueeze upsample_bicubic2d upsample_bilinear2d upsample_linear1d upsample_nearest1d
upsample_nearest2d upsample_nearest3d upsample_trilinear3d view view_as vsplit vstack _reshape_alias _to_copy
_unsafe_index _unsafe_view _upsample_bicubic2d_aa _upsample_bilinear2d_aa _upsample_nearest_exact1d
_upsample_nearest_exact2d _upsample_nearest_exact3d
"""
_MAKERS = """
arange empty empty_like empty_permuted eye fill full full_like linspace new_empty new_full new_ones new_zeros ones
ones_like rand rand_like randint randint_like randn randn_like randperm scalar_tensor zeros zeros_like
"""
_CHECKS = "_assert_tensor_metadata"
_IN_PLACE = """
abs_ add_ addcdiv_ addcmul_ celu_ ceil_ clamp_ clamp_max_ clamp_min_ copy_ cos_ div_ elu_ erf_ exp_ expm1_ fill_ floor_
hardsigmoid_ hardswish_ hardtanh_ index_put_ leaky_relu_ log_ logical_and_ logical_not_ logical_or_ masked_fill_ mish_
mul_ neg_ pow_ reciprocal_ relu6_ relu_ round_ rsqrt_ scatter_ scatter_add_ selu_ sigmoid_ silu_ sin_ sqrt_ squeeze_
sub_ tanh_ threshold_ trunc_ unsqueeze_ zero_
"""

OPERATORS = frozenset(
    " ".join((_POINTWISE, _ACTIVATIONS, _LAYERS, _ALGEBRA, _REDUCTIONS, _SHAPES, _MAKERS, _CHECKS, _IN_PLACE)).split()
)
"""Their names, without `torch.ops.aten.` and without the overload."""
