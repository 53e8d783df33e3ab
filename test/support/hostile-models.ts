/** Files that a service for ONNX models must survive, made on the spot. Field numbers: onnx.proto3. */
import { sampleModel } from '../../services/cli/sample/sample-model.js';
import { type WireField, wireMessage } from './wire-message.js';

const float32 = 1;
const int64 = 7;

const node = (opType: string, inputs: string[], outputs: string[], domain = ''): WireField => [
  1,
  wireMessage(...inputs.map((name): WireField => [1, name]), ...outputs.map((name): WireField => [2, name]), [4, opType], [7, domain]),
];
const dims = (sizes: (number | bigint)[]): Buffer => wireMessage(...sizes.map((size): WireField => [1, wireMessage([1, size])]));
const valueInfo = (field: 11 | 12, name: string, sizes: (number | bigint)[], type = float32): WireField => [
  field,
  wireMessage([1, name], [2, wireMessage([1, wireMessage([1, type], [2, dims(sizes)])])]),
];
const initializer = (name: string, sizes: (number | bigint)[], ...rest: WireField[]): WireField => [
  5,
  wireMessage(...sizes.map((size): WireField => [1, size]), [2, float32], [8, name], ...rest),
];
const model = (graph: WireField[], { opset = 17, domains = [] as string[] } = {}): Buffer =>
  wireMessage(
    [1, 8],
    [7, wireMessage([2, 'g'], ...graph)],
    [8, wireMessage([2, opset])],
    ...domains.map((domain): WireField => [8, wireMessage([1, domain], [2, 1])]),
  );
const x = valueInfo(11, 'x', [1, 4]);
const y = valueInfo(12, 'y', [1, 4]);
const external = (location: string): WireField[] => [
  [13, wireMessage([1, 'location'], [2, location])],
  [14, 1],
];
const int64Data = (value: bigint): WireField => [9, Buffer.from(new BigInt64Array([value]).buffer)];

/** Name -> bytes. Some of them are valid models that a runtime refuses or that ask for absurd amounts of memory. */
export function hostileModels(): Record<string, Uint8Array> {
  const whole = sampleModel();
  return {
    empty: Buffer.alloc(0),
    text: Buffer.from('this is not a model\n'),
    'random bytes': Buffer.from(Uint8Array.from({ length: 4096 }, (_, index) => (index * 2_654_435_761) >>> 24)),
    'half a model': whole.subarray(0, whole.length / 2),
    'a length of 2 GB in nine bytes': Buffer.from([0x3a, 0xff, 0xff, 0xff, 0xff, 0x07, 1, 2, 3]),
    'no operator set': wireMessage([1, 8], [7, wireMessage([2, 'g'], node('Relu', ['x'], ['y']), x, y)]),
    'an operator set of the future': model([node('Relu', ['x'], ['y']), x, y], { opset: 314_159 }),
    'an unknown operator': model([node('Frobnicate', ['x'], ['y']), x, y]),
    'an unknown domain': model([node('Relu', ['x'], ['y'], 'example.com'), x, y], { domains: ['example.com'] }),
    'an input that nobody makes': model([node('Add', ['x', 'ghost'], ['y']), x, y]),
    'a name made twice': model([node('Relu', ['x'], ['y']), node('Neg', ['x'], ['y']), x, y]),
    'a cycle': model([node('Add', ['x', 'b'], ['a']), node('Relu', ['a'], ['b']), node('Relu', ['b'], ['y']), x, y]),
    'a weight of 2^60 elements': model([node('MatMul', ['x', 'w'], ['y']), initializer('w', [1n << 40n, 1n << 20n]), x, y]),
    'a negative size': model([node('Add', ['x', 'w'], ['y']), initializer('w', [-4n], [9, Buffer.alloc(16)]), x, y]),
    'ten bytes of sixty-four': model([node('MatMul', ['x', 'w'], ['y']), initializer('w', [4, 4], [9, Buffer.alloc(10)]), x, y]),
    'external data outside': model([
      node('MatMul', ['x', 'w'], ['y']),
      initializer('w', [4, 4], ...external('../../../../etc/passwd')),
      x,
      y,
    ]),
    'external data that is missing': model([node('MatMul', ['x', 'w'], ['y']), initializer('w', [4, 4], ...external('w.bin')), x, y]),
    'an intermediate of 64 GiB': model([
      [5, wireMessage([1, 1], [2, int64], [8, 'shape'], int64Data(1n << 34n))],
      node('ConstantOfShape', ['shape'], ['huge']),
      node('ReduceSum', ['huge'], ['sum']),
      node('Add', ['x', 'sum'], ['y']),
      x,
      y,
    ]),
    'an input of no elements': model([node('Relu', ['x'], ['y']), valueInfo(11, 'x', [0, 4]), valueInfo(12, 'y', [0, 4])]),
    'no nodes': model([x, valueInfo(12, 'x', [1, 4])]),
  };
}
