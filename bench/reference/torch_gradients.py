"""Gradients of ONNX models by torch autograd: the cross-check of Lathe's own (bench/training/gradients.ts).

torch_gradients.py FOLDER...

Each FOLDER holds request.json {model, batch_statistics, feeds, projections, gradients}, the last three lists of names, and
arrays.npz with feeds_0, feeds_1, ... and so on in their order; the gradients are Lathe's, in float32. The model file is
interpreted operator by operator, in float64 and in float32, and L = sum <projection, value> is differentiated by the named
constants. Prints one line of JSON per folder: the loss, and of each parameter the norm of the gradient, <gradient, cos(i)>, and
the largest differences: of Lathe from torch in float64 and in float32, and of torch in float32 from torch in float64.

Needs torch, onnx and numpy. Shares no code with Lathe: it knows the forward meaning of the operators and nothing of their gradients.
"""
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import helper, numpy_helper

torch.set_num_threads(2)
OPERATORS = {}


def operator(*names):
    def register(function):
        for name in names:
            OPERATORS[name] = function
        return function

    return register


class Call:
    """One node with its evaluated inputs."""

    def __init__(self, node, inputs, graph):
        self.node, self.inputs, self.graph = node, inputs, graph
        self.attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}

    def __getitem__(self, index):
        return self.inputs[index] if index < len(self.inputs) else None

    def get(self, name, default=None):
        value = self.attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else value

    def ints(self, name, index):
        """Numbers that older operator sets have as an attribute and newer ones as an input."""
        if name in self.attributes:
            return list(self.attributes[name])
        return None if self[index] is None else [int(v) for v in self[index].reshape(-1).tolist()]


for name, function in {
    'Add': torch.add, 'Sub': torch.sub, 'Mul': torch.mul, 'MatMul': torch.matmul, 'Max': torch.maximum, 'Equal': torch.eq,
    'Less': torch.lt, 'Where': torch.where, 'Relu': torch.relu, 'Sigmoid': torch.sigmoid, 'Tanh': torch.tanh, 'Sqrt': torch.sqrt,
    'Exp': torch.exp, 'Erf': torch.erf, 'Reciprocal': torch.reciprocal, 'Not': torch.logical_not, 'Identity': lambda x: x,
}.items():
    OPERATORS[name] = lambda call, function=function: function(*call.inputs)


@operator('Div')
def div(call):
    exact = torch.is_floating_point(call[0])
    return call[0] / call[1] if exact else torch.div(call[0], call[1], rounding_mode='trunc')


@operator('Pow')
def power(call):
    return torch.pow(call[0], call[1].to(call[0].dtype))


@operator('Constant')
def constant(call):
    ((name, value),) = call.attributes.items()
    if name == 'value':
        return call.graph.tensor(numpy_helper.to_array(value))
    kind = np.float32 if name.startswith('value_float') else np.int64
    return call.graph.tensor(np.array(value, kind))


@operator('ConstantOfShape')
def constant_of_shape(call):
    fill = call.graph.tensor(numpy_helper.to_array(call.attributes['value'])) if 'value' in call.attributes else torch.zeros(1, dtype=call.graph.dtype)
    return fill.expand([int(v) for v in call[0]]).clone()


@operator('Shape')
def shape(call):
    return torch.tensor(list(call[0].shape), dtype=torch.int64)


@operator('Size')
def size(call):
    return torch.tensor(call[0].numel())


@operator('Cast')
def cast(call):
    kind = helper.tensor_dtype_to_np_dtype(call.get('to'))
    return call[0].to(call.graph.dtype if kind == np.float32 else call.graph.tensor(np.zeros(1, kind)).dtype)


@operator('Range')
def range_(call):
    return torch.arange(call[0].item(), call[1].item(), call[2].item(), dtype=call[0].dtype)


@operator('Reshape')
def reshape(call):
    target = [call[0].shape[i] if v == 0 else int(v) for i, v in enumerate(call[1].tolist())]
    return call[0].reshape(target)


@operator('Flatten')
def flatten(call):
    axis = call.get('axis', 1)
    return call[0].reshape(int(np.prod(call[0].shape[:axis])), -1)


@operator('Transpose')
def transpose(call):
    return call[0].permute(call.get('perm', list(range(call[0].dim()))[::-1]))


@operator('Squeeze')
def squeeze(call):
    axes = call.ints('axes', 1)
    return call[0].squeeze() if axes is None else call[0].squeeze(axes)


@operator('Unsqueeze')
def unsqueeze(call):
    axes = call.ints('axes', 1)
    rank = call[0].dim() + len(axes)
    result = call[0]
    for axis in sorted(a % rank for a in axes):
        result = result.unsqueeze(axis)
    return result


@operator('Concat')
def concat(call):
    return torch.cat(call.inputs, call.get('axis'))


@operator('Split')
def split(call):
    axis, parts = call.get('axis', 0), call.ints('split', 1)
    if parts is None:
        parts = -(-call[0].shape[axis] // len(call.node.output))
    return torch.split(call[0], parts, axis)


@operator('Slice')
def slice_(call):
    starts, ends, axes, steps = call.ints('starts', 1), call.ints('ends', 2), call.ints('axes', 3), call.ints('steps', 4)
    result = call[0]
    for at, start in enumerate(starts):
        axis, step = (axes[at] if axes else at), (steps[at] if steps else 1)
        places = range(*slice(start, ends[at] if ends[at] > -2**31 else None, step).indices(result.shape[axis]))
        result = result.index_select(axis, torch.tensor(list(places), dtype=torch.int64))
    return result


@operator('Gather')
def gather(call):
    axis, indices = call.get('axis', 0), call[1].to(torch.int64)
    axis %= call[0].dim()
    indices = torch.where(indices < 0, indices + call[0].shape[axis], indices)
    rows = call[0].index_select(axis, indices.reshape(-1))
    return rows.reshape(call[0].shape[:axis] + indices.shape + call[0].shape[axis + 1:])


@operator('ScatterND')
def scatter_nd(call):
    indices = call[1].to(torch.int64)
    return call[0].index_put(tuple(indices.movedim(-1, 0)), call[2])


@operator('Expand')
def expand(call):
    return call[0] * torch.ones([int(v) for v in call[1]], dtype=call[0].dtype)


@operator('Pad')
def pad(call):
    pads, rank = call.ints('pads', 1), call[0].dim()
    ordered = [v for axis in reversed(range(rank)) for v in (pads[axis], pads[axis + rank])]
    mode = call.get('mode', 'constant')
    if mode == 'constant':
        fill = call.get('value', 0.0) if call[2] is None else call[2].item()
        return F.pad(call[0], ordered, value=fill)
    used = max((i + 1 for i, v in enumerate(ordered) if v), default=2)
    result = call[0].unsqueeze(0) if rank == used // 2 + used % 2 else call[0]
    return F.pad(result, ordered[: used + used % 2], mode={'reflect': 'reflect', 'edge': 'replicate'}[mode]).reshape(
        [call[0].shape[a] + pads[a] + pads[a + rank] for a in range(rank)])


@operator('DepthToSpace')
def depth_to_space(call):
    b, block = call.get('blocksize'), call[0]
    n, c, h, w = block.shape
    if call.get('mode', 'DCR') == 'CRD':
        return F.pixel_shuffle(block, b)
    return block.reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c // b**2, h * b, w * b)


@operator('Resize')
def resize(call):
    assert call.get('mode', 'nearest') == 'nearest' and call.get('coordinate_transformation_mode') == 'asymmetric'
    factors = [int(v) for v in call[2]]
    for axis, factor in enumerate(factors):
        call.inputs[0] = call[0].repeat_interleave(factor, axis)
    return call[0]


def reduction(function):
    def reduce(call):
        axes, keep = call.ints('axes', 1), bool(call.get('keepdims', 1))
        return function(call[0], list(range(call[0].dim())) if axes is None else axes, keep)

    return reduce


OPERATORS['ReduceMean'] = reduction(lambda x, axes, keep: x.mean(axes, keep))
OPERATORS['ReduceSum'] = reduction(lambda x, axes, keep: x.sum(axes, keep))
OPERATORS['ReduceMax'] = reduction(lambda x, axes, keep: x.amax(axes, keep))


@operator('ArgMax')
def arg_max(call):
    return call[0].argmax(call.get('axis', 0), bool(call.get('keepdims', 1)))


def along_axis(function):
    def apply(call):
        if call.graph.opset >= 13:
            return function(call[0], call.get('axis', -1))
        axis = call.get('axis', 1) % call[0].dim()
        return function(call[0].flatten(axis), -1).reshape(call[0].shape)

    return apply


OPERATORS['Softmax'], OPERATORS['LogSoftmax'] = along_axis(torch.softmax), along_axis(torch.log_softmax)


@operator('Gemm')
def gemm(call):
    a = call[0].T if call.get('transA', 0) else call[0]
    b = call[1].T if call.get('transB', 0) else call[1]
    product = call.get('alpha', 1.0) * (a @ b)
    return product if call[2] is None else product + call.get('beta', 1.0) * call[2]


def spatial_pads(call, kernel):
    """Pads as ONNX gives them or as SAME asks for, begin and end of each axis."""
    rank = len(kernel)
    strides, dilations = call.get('strides', [1] * rank), call.get('dilations', [1] * rank)
    auto = call.get('auto_pad', 'NOTSET')
    if auto in ('NOTSET', 'VALID'):
        pads = call.get('pads', [0] * 2 * rank)
        return [(pads[a], pads[a + rank]) for a in range(rank)]
    found = []
    for axis, extent in enumerate(call[0].shape[2:]):
        whole = (-(-extent // strides[axis]) - 1) * strides[axis] + (kernel[axis] - 1) * dilations[axis] + 1
        missing = max(0, whole - extent)
        low = missing // 2 if auto == 'SAME_UPPER' else missing - missing // 2
        found.append((low, missing - low))
    return found


def padded(x, pads, value=0.0):
    return F.pad(x, [v for pair in reversed(pads) for v in pair], value=value)


@operator('Conv')
def conv(call):
    rank = call[1].dim() - 2
    function = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    x = padded(call[0], spatial_pads(call, call[1].shape[2:]))
    return function(x, call[1], call[2], call.get('strides', [1] * rank), 0, call.get('dilations', [1] * rank), call.get('group', 1))


@operator('ConvTranspose')
def conv_transpose(call):
    rank = call[1].dim() - 2
    function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1]
    pads, ones = call.get('pads', [0] * 2 * rank), [1] * rank
    assert 'output_shape' not in call.attributes and call.get('auto_pad', 'NOTSET') == 'NOTSET'
    extra = [v for a in reversed(range(rank)) for v in (-pads[a], call.get('output_padding', [0] * rank)[a] - pads[a + rank])]
    y = function(call[0], call[1], None, call.get('strides', ones), 0, 0, call.get('group', 1), call.get('dilations', ones))
    y = F.pad(y, extra)
    return y if call[2] is None else y + call[2].reshape([-1] + ones)


@operator('MaxPool')
def max_pool(call):
    kernel = call.get('kernel_shape')
    x = padded(call[0], spatial_pads(call, kernel), float('-inf'))
    assert len(kernel) == 2
    return F.max_pool2d(x, kernel, call.get('strides', [1, 1]), 0, call.get('dilations', 1), bool(call.get('ceil_mode', 0)))


@operator('GlobalMaxPool')
def global_max_pool(call):
    return call[0].amax(list(range(2, call[0].dim())), True)


@operator('PRelu')
def prelu(call):
    return torch.where(call[0] > 0, call[0], call[0] * call[1])


@operator('BatchNormalization')
def batch_normalization(call):
    x, scale, shift, mean, variance = call.inputs
    if call.graph.batch_statistics:
        mean = variance = None
    return F.batch_norm(x, mean, variance, scale, shift, call.graph.batch_statistics, 0.0, call.get('epsilon', 1e-5))


@operator('LayerNormalization')
def layer_normalization(call):
    axis = call.get('axis', -1) % call[0].dim()
    return F.layer_norm(call[0], call[0].shape[axis:], call[1], call[2], call.get('epsilon', 1e-5))


def recurrent(call, gates, cell):
    """Runs `cell` over time in each direction. Returns Y [T, D, B, H] and the last states [D, B, H]."""
    x, w, r, b = call[0], call[1], call[2], call[3]
    usual = [b'Sigmoid', b'Tanh', b'Tanh'] if gates == 4 else [b'Sigmoid', b'Tanh']
    assert call.get('layout', 0) == 0 and call.get('activations', usual)[: len(usual)] == usual
    assert call[4] is None or (call[4] == x.shape[0]).all()
    directions, _, hidden = r.shape
    outputs, lasts = [], []
    for d in range(directions):
        backwards = call.get('direction', 'forward') == 'reverse' or d == 1
        zeros = torch.zeros(x.shape[1], hidden, dtype=x.dtype)
        states = tuple(zeros if call[5 + at] is None else call[5 + at][d] for at in range(2 if gates == 4 else 1))
        bias = torch.zeros(2 * gates * hidden, dtype=x.dtype) if b is None else b[d]
        steps = [None] * x.shape[0]
        for t in reversed(range(x.shape[0])) if backwards else range(x.shape[0]):
            states = cell(x[t], states, w[d], r[d], bias.chunk(2))
            steps[t] = states[0]
        outputs.append(torch.stack(steps))
        lasts.append(states)
    return (torch.stack(outputs, 1), *(torch.stack(each) for each in zip(*lasts)))


@operator('LSTM')
def lstm(call):
    def cell(x, states, w, r, bias):
        h, c = states
        i, o, f, g = (x @ w.T + h @ r.T + bias[0] + bias[1]).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    return recurrent(call, 4, cell)


@operator('GRU')
def gru(call):
    linear = call.get('linear_before_reset', 0)

    def cell(x, states, w, r, bias):
        (h,) = states
        wz, wr, wh = (x @ w.T + bias[0]).chunk(3, -1)
        (rz, rr, rh), (bz, br, bh) = r.chunk(3), bias[1].chunk(3)
        z, reset = torch.sigmoid(wz + h @ rz.T + bz), torch.sigmoid(wr + h @ rr.T + br)
        n = torch.tanh(wh + (reset * (h @ rh.T + bh) if linear else (reset * h) @ rh.T + bh))
        return ((1 - z) * n + z * h,)

    return recurrent(call, 3, cell)


class Interpreter:
    def __init__(self, model, parameters, batch_statistics, dtype):
        self.model, self.wanted, self.batch_statistics, self.dtype = model, set(parameters), batch_statistics, dtype
        self.opset = next(each.version for each in model.opset_import if each.domain in ('', 'ai.onnx'))
        self.leaves = {}

    def tensor(self, array):
        made = torch.from_numpy(np.array(array))
        return made.to(self.dtype) if made.is_floating_point() else made

    def named(self, name, value):
        if name in self.wanted and name not in self.leaves:
            self.leaves[name] = value.detach().clone().requires_grad_(True)
        return self.leaves.get(name, value)

    def run(self, feeds):
        values = {name: self.tensor(array) for name, array in feeds.items()}
        self.evaluate(self.model.graph, values)
        return values

    def evaluate(self, graph, values):
        for each in graph.initializer:
            values[each.name] = self.named(each.name, self.tensor(numpy_helper.to_array(each)))
        for node in graph.node:
            made = self.branch(node, values) if node.op_type == 'If' else self.call(node, values)
            for name, value in zip(node.output, made):
                values[name] = self.named(name, value) if node.op_type in ('Constant', 'Identity') else value

    def branch(self, node, values):
        taken = 'then_branch' if values[node.input[0]].item() else 'else_branch'
        graph = next(a.g for a in node.attribute if a.name == taken)
        inner = dict(values)
        self.evaluate(graph, inner)
        return [inner[output.name] for output in graph.output]

    def call(self, node, values):
        if node.op_type not in OPERATORS:
            raise NotImplementedError(f'{node.domain} {node.op_type}')
        found = OPERATORS[node.op_type](Call(node, [values[name] if name else None for name in node.input], self))
        return found if isinstance(found, tuple) else (found,)


def arrays_of(request, arrays, kind):
    return {name: arrays[f'{kind}_{at}'] for at, name in enumerate(request[kind])}


def autograd(request, arrays, dtype):
    graph = Interpreter(onnx.load(request['model']), request['gradients'], request['batch_statistics'], dtype)
    values = graph.run(arrays_of(request, arrays, 'feeds'))
    loss = sum((values[name] * graph.tensor(array)).sum() for name, array in arrays_of(request, arrays, 'projections').items())
    loss.backward()
    return loss.item(), {name: leaf.grad for name, leaf in graph.leaves.items() if leaf.grad is not None}


def compare(folder):
    request = json.loads((folder / 'request.json').read_text())
    arrays = np.load(folder / 'arrays.npz')
    loss, exact = autograd(request, arrays, torch.float64)
    _, single = autograd(request, arrays, torch.float32)
    lines = []
    for name, array in arrays_of(request, arrays, 'gradients').items():
        ours = torch.from_numpy(array).double()
        truth = exact.get(name, torch.zeros_like(ours))
        theirs = single.get(name, torch.zeros_like(ours)).double()
        assert ours.shape == truth.shape, (name, ours.shape, truth.shape)
        lines.append({
            'name': name,
            'found': name in exact,
            'norm': truth.norm().item(),
            'wave': (truth.reshape(-1) * torch.cos(torch.arange(truth.numel(), dtype=torch.float64))).sum().item(),
            'largest': truth.abs().max().item(),
            'difference': (ours - truth).abs().max().item(),
            'single_difference': (ours - theirs).abs().max().item(),
            'torch_difference': (theirs - truth).abs().max().item(),
        })
    return {'loss': loss, 'parameters': lines}


for folder in map(Path, sys.argv[1:]):
    try:
        print(json.dumps(compare(folder)), flush=True)
    except Exception as error:  # one model must not end the others
        print(json.dumps({'failed': f'{type(error).__name__}: {error}'}), flush=True)
