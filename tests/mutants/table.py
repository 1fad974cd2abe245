"""Planted bugs: each is a change that somebody could make, and that tests of its room must notice.

A row says what stands in the source, exactly once in the whole package and on one line, so that
moving a file or indenting a block leaves the row as it is; what a slip would make of it; which file
of tests must fail, by the end of its path; and why the slip is a likely one.
"""

from typing import NamedTuple


class Mutant(NamedTuple):
    """One planted bug.

    Attributes:
        name: what is wrong with it.
        old: text that occurs once in the package.
        new: what takes its place.
        tests: end of the path of the file of tests that must fail.
        why: how such a bug comes about.
        only: pytest's ``-k``: a few tests of that file, where it takes long.
    """

    name: str
    old: str
    new: str
    tests: str
    why: str
    only: str = ""


TRANSFORM = [
    Mutant(
        "variance taken for the standard deviation",
        "eps).rsqrt_()",
        "eps).reciprocal_()",
        "nn/test_batchnorm.py",
        "right where the variance is 1, as in most made-up inputs",
        only="test_law and eager-output and 4x3x5",
    ),
    Mutant(
        "eps left out of a compiled channel",
        "invstd, scale = scale_of(var, weight, real(c[at.EPS]))",
        "invstd, scale = scale_of(var, weight, 0.0)",
        "test_conventions.py",
        "a constant is put in while profiling, and stays",
    ),
    Mutant(
        "slope of leaky relu on the wrong side",
        "torch.where(z <= 0, torch.full_like(z, a), torch.ones_like(z))",
        "torch.where(z <= 0, torch.ones_like(z), torch.full_like(z, a))",
        "nn/test_contract.py",
        "the condition of a where was turned round",
        only="eager and BatchNorm-plain and gradients and leaky_relu",
    ),
]
DERIVATIVE = [
    Mutant(
        "the mean of dy is not divided by the count",
        "dx.sub_(_column(dbias / count, x))",
        "dx.sub_(_column(dbias, x))",
        "nn/test_batchnorm.py",
        "a sum and a mean have the same shape",
        only="test_law and eager-gradients and 4x3x5",
    ),
    Mutant(
        "dx without the term of the variance",
        "dx.sub_(xhat.mul_(_column(dweight / count, x)))",
        "dx.sub_(_column(dbias * 0, x))",
        "nn/test_batchnorm.py",
        "the statistics taken for constants, as in evaluation",
        only="test_law and eager-gradients and 4x3x5",
    ),
    Mutant(
        "second derivative with 1/std where 1/var belongs",
        "d_x = d_x - w * s.square() * xhat * average(g_dx * p_dy)",
        "d_x = d_x - w * s * xhat * average(g_dx * p_dy)",
        "test_ops.py",
        "one factor lost when the formula was typed",
        only="derivatives_of_any_order and 6x3",
    ),
    Mutant(
        "second derivative of evaluation without 1/std",
        "d_weight = (s * g_dx * dy64).sum(axes)",
        "d_weight = (g_dx * dy64).sum(axes)",
        "test_ops.py",
        "few test the second derivative under population statistics",
        only="derivatives_of_any_order and 6x3",
    ),
    Mutant(
        "compiled gradient of the weight without 1/std",
        "give(c[at.DWEIGHT], c[at.GRADIENTS_STORED], channel, sum2 * invstd)",
        "give(c[at.DWEIGHT], c[at.GRADIENTS_STORED], channel, sum2)",
        "nn/test_batchnorm.py",
        "the sum is over x - mean, and not over xhat",
        only="test_law and cpu-gradients and 4x3x5-float64",
    ),
]
RUNNING = [
    Mutant(
        "momentum taken for a decay",
        "after = before + momentum * (value - before)",
        "after = value + momentum * (before - value)",
        "nn/test_batchnorm.py",
        "TensorFlow's and PyTorch's momentum are opposites",
        only="test_law and eager-buffers and 4x3x5",
    ),
    Mutant(
        "momentum taken for a decay in the compiled kernel",
        "moved = new if momentum == 1.0 else before + momentum * (new - before)",
        "moved = new if momentum == 1.0 else new + momentum * (before - new)",
        "test_conventions.py",
        "TensorFlow's and PyTorch's momentum are opposites",
    ),
    Mutant(
        "running variance stays biased",
        "return count / (count - correction), None",
        "return 1.0, None",
        "nn/test_batchnorm.py",
        "the variance that normalizes is the biased one",
        only="test_law and eager-buffers and 4x3x5",
    ),
    Mutant(
        "a batch that was skipped is counted",
        "running.counter.add_(1 if used is None else used)",
        "running.counter.add_(1)",
        "nn/test_statistics.py",
        "counting looks independent of what was taken in",
        only="eager and skipped_whole",
    ),
    Mutant(
        "finiteness judged before rounding to the buffer",
        "value.to(moved.dtype).isfinite().all() for moved, value in new",
        "value.isfinite().all() for moved, value in new",
        "nn/test_statistics.py",
        "the statistics are float64, the buffers are not",
        only="eager",
    ),
    Mutant(
        "cumulative average one batch late",
        "return (running.counter + 1).double().reciprocal()",
        "return (running.counter + 2).double().reciprocal()",
        "nn/test_batchnorm.py",
        "counters that start at 0 and at 1 are mixed up",
        only="test_law and eager-buffers and None",
    ),
    Mutant(
        "debiased variance keeps what is left of its start",
        "((var - (1.0 - weight)) / weight).clamp(min=0.0)",
        "(var / weight).clamp(min=0.0)",
        "nn/test_statistics.py",
        "the mean starts at 0 and needs no subtraction, the variance starts at 1",
        only="debias",
    ),
    Mutant(
        "a recomputed forward moves the statistics again",
        "torch._C._current_graph_task_id() != -1",
        "torch._C._current_graph_task_id() < -1",
        "nn/test_checkpoint.py",
        "torch does so, and output and gradients are right",
        only="move_once",
    ),
    Mutant(
        "merged mean does not weigh its parts",
        "merged = self.mean + (n * (mean - self.mean)).sum(0) / total.clamp(min=1)",
        "merged = self.mean + (mean - self.mean).mean(0)",
        "test_moments.py",
        "right as long as all parts have the same size",
    ),
    Mutant(
        "merged squares without the distance of the means",
        "return Moments(total, merged, (m2 + n * (mean - merged).square()).sum(0))",
        "return Moments(total, merged, m2.sum(0))",
        "test_moments.py",
        "right as long as all parts have the same mean",
    ),
]
MASKS = [
    Mutant(
        "padding is multiplied away",
        "return x if self.there is None else torch.where(self.there, x, 0.0)",
        "return x if self.there is None else x * self.there",
        "nn/test_weights.py",
        "0 times NaN is NaN",
        only="padding_does_not_matter and eager",
    ),
    Mutant(
        "padding counts in the moments",
        "values = there.double()",
        "values = torch.ones_like(there, dtype=torch.float64)",
        "nn/test_weights.py",
        "the size of a tensor is the number of its values only where there is no mask",
        only="padding_does_not_matter and eager",
    ),
    Mutant(
        "weighted mean divides by the number of values",
        "return (values * weights).sum(axes) / torch.where(count > 0, count, 1.0)",
        "return (values * weights).sum(axes) / max(_axes.count(values.shape), 1)",
        "nn/test_weights.py",
        "right as long as the weights are 1 on average",
        only="number_of_copies or by_the_formula",
    ),
]
RELATIVES = [
    Mutant(
        "ghost batches smaller than asked for",
        "parts = x.shape[0] // self.virtual_batch_size",
        "parts = -(-x.shape[0] // self.virtual_batch_size)",
        "nn/test_ghost.py",
        "chunk rounds up, and most batches divide evenly",
    ),
    Mutant(
        "renormalization shifts the other way",
        "d = (batch.mean - running_mean) * scale",
        "d = (running_mean - batch.mean) * scale",
        "nn/test_renorm.py",
        "nothing shows before the bounds open",
    ),
    Mutant(
        "bound of renormalization starts at 0, not at 1",
        "return 1.0 + (self.r_max - 1.0) * r, self.d_max * d",
        "return self.r_max * r, self.d_max * d",
        "nn/test_renorm.py",
        "r and d look alike, but r is a factor",
    ),
    Mutant(
        "samples of a mixed batch come back in another order",
        "y.index_select(0, order.argsort())",
        "y.index_select(0, order)",
        "nn/test_domain.py",
        "a permutation that swaps two is its own inverse",
        only="mixed_batch",
    ),
    Mutant(
        "unfreezing lets everything learn",
        "parameter.requires_grad_(self._required_grad.get(name, True))",
        "parameter.requires_grad_(True)",
        "nn/test_modes.py",
        "a parameter that was frozen before is rare",
    ),
    Mutant(
        "derivative of whitening at one eigenvalue only",
        "rotated = rotated / (values.unsqueeze(-1) + values.unsqueeze(-2))",
        "rotated = rotated / (2 * values.unsqueeze(-1))",
        "nn/test_decorrelated.py",
        "right where all eigenvalues are equal",
        only="derivative",
    ),
]
SURGERY = [
    Mutant(
        "a forward on the instance is overlooked",
        'if "forward" in vars(module):',
        'if "forward" in vars(type(module)):',
        "surgery/test_convert.py",
        "the class says nothing of it",
    ),
    Mutant(
        "an activation that others take too is fused",
        "return others[0] if len(others) == 1 else None",
        "return others[0] if others else None",
        "surgery/test_fuse.py",
        "the first user is the only one in most networks",
    ),
    Mutant(
        "folding forgets to scale the mean",
        "shift = -mean * scale",
        "shift = -mean",
        "test_affine.py",
        "right where the variance is 1, as in a new layer",
    ),
    Mutant(
        "folded bias drops the shift of all but the first tap",
        "constant = (self.weight * shift).sum((2, 3)).flatten()",
        "constant = (self.weight * shift)[..., 0].sum(2).flatten()",
        "test_linear.py",
        "right for linear maps and convolutions of one tap",
    ),
    Mutant(
        "zero padding of a convolution is overlooked",
        'return layer.padding_mode == "zeros" and any(',
        'return layer.padding_mode != "zeros" and any(',
        "test_linear.py",
        "a border is few of the values",
    ),
    Mutant(
        "a layer that starts from data forgets eps",
        '"weight": (var + layer.eps).sqrt(),',
        '"weight": var.sqrt(),',
        "surgery/test_insert.py",
        "with 1e-5 nothing shows where the variance is 1",
        only="makes_up_for_eps",
    ),
    Mutant(
        "a removed bias stays in the running mean",
        "moments.mean if bias is None else moments.mean - bias.double()",
        "moments.mean",
        "surgery/test_insert.py",
        "training does not look at it",
        only="makes_up_for_eps or moments_of_the_batch",
    ),
    Mutant(
        "recalibration ignores a layer's correction",
        "return Population(moments.mean, Moments(*moments).variance(correction))",
        "return Population(moments.mean, Moments(*moments).variance(1))",
        "surgery/test_recalibrate.py",
        "all layers of torch have 1",
        only="biased_variance or ragged",
    ),
    Mutant(
        "algorithm 2 averages biased variances",
        "means, variances = population_of(moments, correction)",
        "means, variances = population_of(moments, 0)",
        "surgery/test_recalibrate.py",
        "the m/(m-1) of the paper is easy to overlook",
        only="algorithm_2 or layer_by_layer_gives",
    ),
    Mutant(
        "decay of an averaged model the wrong way round",
        "old[name].double(), decay)",
        "old[name].double(), 1 - decay)",
        "surgery/test_average.py",
        "momentum is 1 - decay",
    ),
    Mutant(
        "revert gives away an option that torch does not have",
        '"nonfinite": ("skip", "propagate"),',
        '"nonfinite": ("skip", "propagate", "raise"),',
        "surgery/test_revert.py",
        "three words of one option look alike",
    ),
    Mutant(
        "freezing weight and bias of a frozen layer does nothing",
        "if layer.frozen and layer.affine_frozen >= affine:",
        "if layer.frozen:",
        "surgery/test_freeze.py",
        "frozen already sounds like done",
    ),
    Mutant(
        "any name with bias in it is spared the decay",
        '(biases and "bias" in name.split("_"))',
        '(biases and "bias" in name)',
        "surgery/test_no_decay.py",
        "most names are words of their own",
    ),
    Mutant(
        "random numbers do not come back with a borrowed model",
        "self.rewind()",
        "pass",
        "test_borrow.py",
        "dropout hides in evaluation mode",
    ),
    Mutant(
        "a failed change is not taken back",
        "changes.undo()",
        "pass",
        "test_edit.py",
        "nobody looks at a model after an error",
    ),
]
MEASURE = [
    Mutant(
        "the size of an update is that of the new weight",
        "distance([weight], [stepped])",
        "norm([stepped])",
        "measure/test_norms.py",
        "both are lengths of the same shape",
    ),
    Mutant(
        "the landscape is looked at uphill",
        "torch.add(function.start[name], gradient, alpha=-step)",
        "torch.add(function.start[name], gradient, alpha=step)",
        "measure/test_landscape.py",
        "the ranges look alike on a slope",
    ),
    Mutant(
        "scatter of batches divided by their number",
        "return ((share * squares).sum(0) / (len(values) - 1)).sqrt()",
        "return ((share * squares).sum(0) / len(values)).sqrt()",
        "measure/test_statistics_noise.py",
        "with many batches nothing shows",
    ),
    Mutant(
        "the first layers do not stay where they stepped",
        "after = function.evaluate(parameters) if place else before",
        "after = before",
        "measure/test_covariate_shift.py",
        "a cache that is one pass too old",
    ),
    Mutant(
        "a sharpness of the last batch alone counts all",
        "found.add_(self._through(gradients, vectors), alpha=share)",
        "found = self._through(gradients, vectors)",
        "measure/test_sharpness.py",
        "right for a single batch, as in most tries",
        only="whole_hessian and eager",
    ),
    Mutant(
        "relative sharpness in the units of one side only",
        "return found if self._units is None else found * self._units",
        "return found",
        "measure/test_sharpness.py",
        "the product with the vector has them already",
        only="between_two_diagonals",
    ),
    Mutant(
        "the bound is half of what is left",
        "images - values[:, None] * found, dim=1)",
        "images - values[:, None] * found, dim=1) / 2",
        "measure/test_sharpness.py",
        "a bound that is too good is never looked at",
        only="vectors_are_those",
    ),
    Mutant(
        "gap measured against the population's output",
        "self._sizes.append(norm([batchwise]))",
        "self._sizes.append(norm([population]))",
        "measure/test_evaluation_gap.py",
        "nearly the same where the gap is small",
    ),
]
LAB = [
    Mutant(
        "a resumed trial repeats a step",
        "return int(step) + 1",
        "return int(step)",
        "lab/test_training.py",
        "an index or a number of evaluations",
        only="checkpoint",
    ),
    Mutant(
        "a resumed trial has lost its momentum",
        "self._descent.restore(_strip(state, _VELOCITY))",
        "self._descent.restore({})",
        "lab/test_training.py",
        "most studies train without momentum",
        only="checkpoint",
    ),
    Mutant(
        "noise does not go on from where it was",
        "torch.manual_seed(_schedule.noise_seed(self._trial.seed, start))",
        "torch.initial_seed()",
        "lab/test_training.py",
        "only networks with dropout draw anything",
        only="checkpoint",
    ),
    Mutant(
        "all seeds see the data in one order",
        "return np.random.default_rng([seed, epoch]).permutation(count)",
        "return np.random.default_rng([epoch]).permutation(count)",
        "lab/test_training.py",
        "each trial alone looks right",
        only="order",
    ),
    Mutant(
        "a torn last line is damage",
        'lines = read_plain(path).split(b"\\n")[:-1]',
        "lines = read_plain(path).splitlines()",
        "lab/test_records.py",
        "the two differ in a file that was cut off, only",
    ),
    Mutant(
        "weights are not checked against the record",
        'if digest == history.end.get("weights"):',
        'if history.end.get("weights"):',
        "lab/test_store.py",
        "a checksum that is there looks like one that is right",
    ),
    Mutant(
        "intervals of 90 % called 95",
        "count, tail = len(data), (1 - confidence) / 2",
        "count, tail = len(data), 1 - confidence",
        "lab/test_intervals.py",
        "one tail or two",
        only="is_students",
    ),
    Mutant(
        "a censored trial counts as one that took all its steps",
        "most = -_log_ratios(below, above, limit)",
        "most = _log_ratios(np.minimum(above, limit), below, limit)",
        "lab/test_intervals.py",
        "the limit is the last that is known",
        only="censored_numerator",
    ),
    Mutant(
        "arms are not compared in pairs",
        "return tops - np.log(np.maximum(below, floor))",
        "return tops - np.log(np.maximum(below, floor))[::-1]",
        "lab/test_intervals.py",
        "the middle of the interval is the same",
        only="ratio_is_students",
    ),
    Mutant(
        "a setting is picked on the seed that it is read on",
        "others = tuple(trial for trial in one.trials if trial.trial.seed != seed)",
        "others = tuple(trial for trial in one.trials if trial.trial.seed >= 0)",
        "lab/test_findings.py",
        "every arm is flattered, and the picked one more",
        only="picked or picking",
    ),
    Mutant(
        "a lucky last evaluation trains",
        "return lambda trial: trial.settled_accuracy >= target",
        "return lambda trial: trial.final_accuracy >= target",
        "lab/test_findings.py",
        "the same in a trial that does not swing",
        only="trains_by",
    ),
    Mutant(
        "seeds that are equal leave no doubt",
        "other = 1 - float(tail ** (1 / count))",
        "other = 0.0",
        "lab/test_intervals.py",
        "equal seeds look certain",
        only="equal_seeds",
    ),
    Mutant(
        "several conditions are judged as if each were alone",
        "return 1 - (1 - CONFIDENCE) / max(chances, 1)",
        "return CONFIDENCE",
        "lab/test_verdicts.py",
        "each interval alone is right",
    ),
    Mutant(
        "what no trial can tell counts against the claim",
        'return "contradicted" if self._short(found) else "cannot be told"',
        'return "contradicted"',
        "lab/test_verdicts.py",
        "not shown and refuted are easily mixed up",
    ),
    Mutant(
        "half of an interval is enough for a claim",
        "over = self.above is None or found.low > self.above",
        "over = self.above is None or found.high > self.above",
        "lab/test_verdicts.py",
        "low and high are easily mixed up",
    ),
    Mutant(
        "ratio of two medians instead of the median of ratios",
        "return float(np.median(np.asarray(peer) / np.asarray(ours)))",
        "return float(np.median(peer) / np.median(ours))",
        "bench/test_ratios.py",
        "the same where the machine is quiet",
    ),
    Mutant(
        "every round has the same order",
        "order = [*order[1:], order[0]]",
        "order = [*order]",
        "bench/test_timing.py",
        "who comes first after a pause is slower, and nobody sees it",
    ),
]
OTHERS = [
    Mutant(
        "the density left out of the derivative of GELU",
        "return below + z * density",
        "return below",
        "kernels/test_activations.py",
        "the distribution function is nearly the slope",
        only="eager and gelu",
    ),
    Mutant(
        "the upper end of a hard activation forgotten",
        "return _between(z, 0.0, 6.0)",
        "return _between(z, 0.0, 1e9)",
        "kernels/test_activations.py",
        "normalized values rarely reach 6",
        only="cpu and relu6",
    ),
    Mutant(
        "a frozen layer passes for a plain one where it is to train",
        '**_EVALUATION, "frozen": False, "correction": 1',
        '**_EVALUATION, "correction": 1',
        "tools/test_other_tools.py",
        "in evaluation it is one",
        only="convert_sync_batchnorm",
    ),
    Mutant(
        "tools recognized by one name alone",
        "_*(fuse|fold|merge|absorb|reparam|switch_to_deploy)",
        "_*(fuse_conv_bn_eval)",
        "tools/test_other_tools.py",
        "the one that was reported",
        only="recognized_by_its_name",
    ),
    Mutant(
        "a tool may start the statistics of all domains anew",
        "layer._one_of_several and code.co_name in _START_ANEW",
        "layer._given_more and code.co_name in _START_ANEW",
        "tools/test_other_tools.py",
        "one flag of a layer for another",
        only="update_bn",
    ),
    Mutant(
        "a mode is quantized for training as for evaluation",
        "found = beyond_torch(layer, training=is_qat)",
        "found = beyond_torch(layer, training=False)",
        "tools/test_other_tools.py",
        "the flag stands for something else a line before",
        only="fuse_modules_qat",
    ),
    Mutant(
        "weights of a wrapper keep its prefix",
        'part for part in name.split(".") if part not in _WRAPPERS',
        'part for part in name.split(".")',
        "cli/test_weights.py",
        "torch.compile's is the rarer one",
    ),
]
MUTANTS = [
    *(*TRANSFORM, *DERIVATIVE, *RUNNING, *MASKS, *RELATIVES, *SURGERY, *MEASURE, *LAB),
    *OTHERS,
]
