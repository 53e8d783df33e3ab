/** Models made by code for the tests of the ONNX codec: between them they use every part of the format. */
import {
  type Attribute,
  attributeOf,
  bytesInMemory,
  type DataType,
  dataTypes,
  elementCount,
  float32Tensor,
  Graph,
  int64Tensor,
  Model,
  Node,
  type Shape,
  type Tensor,
  Value,
} from '../../../../services/engine/ir/index.js';

export function tensorValue(name: string, shape: Shape, dataType: DataType = 'float32'): Value {
  return new Value(name, { kind: 'tensor', dataType, shape });
}

export function modelOf(graph: Graph, opset = 17): Model {
  const model = new Model(graph);
  model.irVersion = 8;
  model.opsetImports.set('', opset);
  return model;
}

/** A dense layer: y[N,3] = Relu(x[N,4] * w + b). Its weights are the numbers 0, 0.25, 0.5, ... */
export function denseModel(): Model {
  const graph = new Graph('dense');
  const x = tensorValue('x', ['N', 4]);
  const y = tensorValue('y', ['N', 3]);
  const product = new Value('product');
  const w = graph.addInitializer(
    'w',
    float32Tensor(
      [4, 3],
      Float32Array.from({ length: 12 }, (_, i) => i / 4),
    ),
  );
  const b = graph.addInitializer('b', float32Tensor([3], [-1, 0, 1]));
  graph.inputs.push(x);
  graph.outputs.push(y);
  graph.append(
    new Node({ opType: 'Gemm', name: 'gemm', inputs: [x, w, b], outputs: [product] }),
    new Node({ opType: 'Relu', name: 'relu', inputs: [product], outputs: [y] }),
  );
  return modelOf(graph);
}

/** y = c ? x + w : x * w, where both branches read `x` and `w` from around them. */
export function branchingModel(): Model {
  const graph = new Graph('branching');
  const x = tensorValue('x', [2]);
  const c = tensorValue('c', [], 'bool');
  const y = tensorValue('y', [2]);
  const w = graph.addInitializer('w', float32Tensor([2], [10, 20]));
  graph.inputs.push(x, c);
  graph.outputs.push(y);
  const branch = (opType: string): Graph => {
    const body = new Graph(`${opType}_branch`);
    const out = tensorValue(`${opType}_out`, [2]);
    body.append(new Node({ opType, name: `inner_${opType}`, inputs: [x, w], outputs: [out] }));
    body.outputs.push(out);
    return body;
  };
  graph.append(
    new Node({
      opType: 'If',
      name: 'choose',
      inputs: [c],
      outputs: [y],
      attributes: { then_branch: attributeOf.graph(branch('Add')), else_branch: attributeOf.graph(branch('Mul')) },
    }),
  );
  return modelOf(graph);
}

/** A tensor of each element type, all bits used, with an odd number of elements so that sub-byte types end in half a byte. */
export function tensorsOfEachType(): Map<DataType, Tensor> {
  const dims = [3, 5];
  return new Map(
    (Object.keys(dataTypes) as DataType[]).map((dataType): [DataType, Tensor] => {
      if (dataType === 'string') {
        const strings = Array.from({ length: 15 }, (_, i) => Uint8Array.from([0xff, i, 0]));
        return [dataType, { dataType, dims, data: bytesInMemory(new Uint8Array(0)), strings }];
      }
      const byteLength = Math.ceil((elementCount(dims) * dataTypes[dataType].bits) / 8);
      return [dataType, { dataType, dims, data: bytesInMemory(Uint8Array.from({ length: byteLength }, (_, i) => (i * 37) % 251)) }];
    }),
  );
}

/** Everything onnxruntime would not run but the format can say: all element types, attribute kinds, types, functions. */
export function kitchenSinkModel(): Model {
  const graph = new Graph('kitchen sink');
  graph.docString = 'Grüße';
  graph.metadata = new Map([['graph', 'metadata']]);
  const x = new Value(
    'x',
    { kind: 'tensor', dataType: 'float32', shape: ['N', null, 0, 7], denotation: 'IMAGE' },
    'an input',
    new Map([['a', 'b']]),
  );
  const types: [string, Value['type']][] = [
    ['sequence', { kind: 'sequence', element: { kind: 'map', key: 'int64', value: { kind: 'tensor', dataType: 'float16', shape: null } } }],
    ['optional', { kind: 'optional', element: { kind: 'sparse-tensor', dataType: 'float64', shape: [] } }],
    ['opaque', { kind: 'opaque', bytes: Uint8Array.from([10, 1, 120]) }],
    ['untyped', null],
  ];
  graph.inputs.push(x, ...types.map(([name, type]) => new Value(name, type)));
  for (const [dataType, tensor] of tensorsOfEachType()) graph.addInitializer(`of ${dataType}`, { ...tensor, docString: dataType });
  graph.addInitializer('scalar', float32Tensor([], [3]));
  graph.addInitializer('empty', float32Tensor([0, 4], []));
  const sparse = { values: { ...float32Tensor([2], [1, 2]), name: 'sparse' }, indices: int64Tensor([2], [0, 3]), dims: [5] };
  const sparseValue = new Value('sparse', { kind: 'tensor', dataType: 'float32', shape: [5] });
  graph.sparseInitializers.set(sparseValue, sparse);
  graph.quantizationAnnotations.push({ tensorName: 'x', parameterTensorNames: new Map([['SCALE_TENSOR', 'scalar']]) });
  const y = new Value('y', { kind: 'tensor', dataType: null, shape: null });
  const middle = new Value('middle', { kind: 'tensor', dataType: 'float32', shape: [1] }, 'a fact');
  graph.outputs.push(y);
  graph.append(
    new Node({
      opType: 'Everything',
      domain: 'test.lathe',
      overload: 'second',
      name: 'everything',
      docString: 'a node',
      metadata: new Map([['node', 'metadata']]),
      inputs: [x, null, sparseValue],
      outputs: [null, middle],
      attributes: everyAttribute(sparse),
    }),
    new Node({ opType: 'Twice', domain: 'test.lathe', inputs: [middle], outputs: [y] }),
  );
  const model = modelOf(graph);
  model.irVersion = 10;
  model.opsetImports.set('test.lathe', 3);
  Object.assign(model, { producerName: 'lathe', producerVersion: '1', domain: 'org.lathe', modelVersion: -5n, docString: 'doc' });
  model.metadata.set('key', 'value').set('empty', '');
  model.functions.push(twice());
  return model;
}

function everyAttribute(sparse: { values: Tensor; indices: Tensor; dims: number[] }): Record<string, Attribute> {
  const tensor = { ...float32Tensor([1], [Number.NaN]), name: 'named' };
  return {
    float: { kind: 'float', value: -0.5, docString: 'why' },
    int: attributeOf.int(2n ** 63n - 1n),
    zero: attributeOf.int(0),
    string: { kind: 'string', value: Uint8Array.from([0, 255]) },
    tensor: attributeOf.tensor(tensor),
    graph: attributeOf.graph(identityBody('only')),
    type: { kind: 'type', value: { kind: 'tensor', dataType: 'uint8', shape: [2] } },
    sparse: { kind: 'sparse-tensor', value: sparse },
    floats: attributeOf.floats([1, Number.POSITIVE_INFINITY]),
    ints: attributeOf.ints([-1n, 2n ** 62n]),
    noInts: attributeOf.ints([]),
    strings: { kind: 'strings', value: [new Uint8Array(0), Uint8Array.from([65])] },
    tensors: { kind: 'tensors', value: [tensor, int64Tensor([1], [4])] },
    graphs: { kind: 'graphs', value: [identityBody('first'), identityBody('second')] },
    types: { kind: 'types', value: [{ kind: 'sequence', element: null }] },
    sparses: { kind: 'sparse-tensors', value: [sparse, sparse] },
  };
}

function identityBody(stem: string): Graph {
  const body = new Graph(stem);
  const [inside, out] = [new Value(`${stem}_in`), new Value(`${stem}_out`)];
  body.inputs.push(inside);
  body.outputs.push(out);
  body.append(new Node({ opType: 'Identity', inputs: [inside], outputs: [out] }));
  return body;
}

function twice(): Model['functions'][number] {
  const body = new Graph('Twice');
  const [a, b, sum] = [new Value('a'), new Value('b'), new Value('sum')];
  body.inputs.push(a);
  body.outputs.push(b);
  body.append(
    new Node({ opType: 'Add', inputs: [a, a], outputs: [sum] }),
    new Node({ opType: 'Cast', inputs: [sum], outputs: [b], attributes: { to: { kind: 'reference', value: 'type', type: 2 } } }),
  );
  return {
    name: 'Twice',
    domain: 'test.lathe',
    overload: '',
    attributeNames: ['needed'],
    defaultAttributes: new Map([['type', attributeOf.int(1)]]),
    opsetImports: new Map([['', 17]]),
    body,
  };
}
