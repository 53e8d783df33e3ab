/** AttributeProto to IR. */
import { EngineError } from '../engine-errors.js';
import type { Attribute, AttributeValue, Graph, SparseTensor, Tensor, ValueType } from '../ir/index.js';
import { type DecodeContext, locate, type Scope } from './decode-context.js';
import { decodeSparseTensor, decodeTensor } from './decode-tensor.js';
import { type MessageReader, UnknownFields } from './message-reader.js';
import { decodeValueType } from './value-type-codec.js';

/** AttributeProto.AttributeType. */
export const attributeTypes = {
  float: 1,
  int: 2,
  string: 3,
  tensor: 4,
  graph: 5,
  floats: 6,
  ints: 7,
  strings: 8,
  tensors: 9,
  graphs: 10,
  'sparse-tensor': 11,
  'sparse-tensors': 12,
  type: 13,
  types: 14,
} as const satisfies Record<Exclude<AttributeValue['kind'], 'reference'>, number>;

type Kind = keyof typeof attributeTypes;
const kindByType = new Map<number, Kind>(Object.entries(attributeTypes).map(([kind, code]) => [code, kind as Kind]));

/** The value fields of AttributeProto; lists are empty and singles absent when the file has none. */
interface AttributeFields {
  name: string;
  typeCode: number;
  reference: string;
  docString?: string;
  float?: number;
  int?: bigint;
  string?: Uint8Array;
  tensor?: Tensor;
  graph?: Graph;
  sparseTensor?: SparseTensor;
  type?: ValueType | null;
  readonly floats: number[];
  readonly ints: bigint[];
  readonly strings: Uint8Array[];
  readonly tensors: Tensor[];
  readonly graphs: Graph[];
  readonly sparseTensors: SparseTensor[];
  readonly types: ValueType[];
  readonly present: Set<Kind>;
  readonly unknown: UnknownFields;
}

export interface AttributePlace {
  readonly context: DecodeContext;
  /** What graphs inside the attribute can see. */
  readonly scope: Scope;
  /** The node, for error texts. */
  readonly where: string;
}

export function decodeAttribute(reader: MessageReader, { context, scope, where }: AttributePlace): [name: string, attribute: Attribute] {
  reader.charge(8);
  const fields: AttributeFields = {
    name: '',
    typeCode: 0,
    reference: '',
    floats: [],
    ints: [],
    strings: [],
    tensors: [],
    graphs: [],
    sparseTensors: [],
    types: [],
    present: new Set(),
    unknown: new UnknownFields(),
  };
  while (reader.next()) {
    const kind = kindByField.get(reader.field);
    if (kind) {
      fields.present.add(kind);
      locate(`${where}, attribute '${fields.name}'`, () => readValue(fields, kind, { reader, context, scope, where }));
    } else readDescription(fields, reader);
  }
  if (fields.name === '') throw new EngineError('model_invalid', `${where}: an attribute has no name.`);
  const value = fields.reference === '' ? attributeValue(fields, where) : referenceValue(fields, where);
  return [fields.name, { ...value, ...(fields.docString === undefined ? {} : { docString: fields.docString }), ...fields.unknown.member }];
}

const kindByField = new Map<number, Kind>([
  [2, 'float'],
  [3, 'int'],
  [4, 'string'],
  [5, 'tensor'],
  [6, 'graph'],
  [7, 'floats'],
  [8, 'ints'],
  [9, 'strings'],
  [10, 'tensors'],
  [11, 'graphs'],
  [14, 'type'],
  [15, 'types'],
  [22, 'sparse-tensor'],
  [23, 'sparse-tensors'],
]);

function readDescription(fields: AttributeFields, reader: MessageReader): void {
  if (reader.field === 1) fields.name = reader.string();
  else if (reader.field === 13) fields.docString = reader.string();
  else if (reader.field === 20) fields.typeCode = reader.int32();
  else if (reader.field === 21) fields.reference = reader.string();
  else fields.unknown.keep(reader);
}

interface ValueSource extends AttributePlace {
  readonly reader: MessageReader;
}

function readValue(fields: AttributeFields, kind: Kind, { reader, context, scope, where }: ValueSource): void {
  switch (kind) {
    case 'float':
      fields.float = reader.float();
      break;
    case 'int':
      fields.int = reader.int64();
      break;
    case 'string':
      fields.string = reader.bytes();
      break;
    case 'tensor':
      fields.tensor = decodeTensor(reader.message('TensorProto'), context.resolveExternal);
      break;
    case 'graph':
      if (fields.graph) throw reader.malformed('stands twice');
      fields.graph = context.decodeSubgraph(reader.message('GraphProto'), scope);
      break;
    case 'floats':
      reader.appendFloats(fields.floats);
      break;
    case 'ints':
      reader.appendInt64(fields.ints);
      break;
    case 'strings':
      reader.charge(1);
      fields.strings.push(reader.bytes());
      break;
    case 'tensors':
      fields.tensors.push(decodeTensor(reader.message('TensorProto'), context.resolveExternal));
      break;
    case 'graphs':
      fields.graphs.push(context.decodeSubgraph(reader.message('GraphProto'), scope));
      break;
    case 'sparse-tensor':
      fields.sparseTensor = decodeSparseTensor(reader.message('SparseTensorProto'), context.resolveExternal);
      break;
    case 'sparse-tensors':
      fields.sparseTensors.push(decodeSparseTensor(reader.message('SparseTensorProto'), context.resolveExternal));
      break;
    case 'type':
      fields.type = decodeValueType(reader.message('TypeProto'), where);
      break;
    case 'types': {
      const type = decodeValueType(reader.message('TypeProto'), where);
      if (type) fields.types.push(type);
      break;
    }
    default:
      kind satisfies never;
  }
}

function referenceValue(fields: AttributeFields, where: string): AttributeValue {
  if (fields.present.size > 0)
    throw new EngineError('model_invalid', `${where}: attribute '${fields.name}' has both a value and ref_attr_name.`);
  return { kind: 'reference', value: fields.reference, type: fields.typeCode };
}

function attributeValue(fields: AttributeFields, where: string): AttributeValue {
  const [only, another] = fields.present;
  const kind = fields.typeCode === 0 ? only : kindByType.get(fields.typeCode);
  const place = `${where}: attribute '${fields.name}'`;
  if (!kind) {
    if (fields.typeCode === 0) throw new EngineError('model_invalid', `${place} has no value.`);
    throw new EngineError('model_unsupported', `${place} has the unknown type ${fields.typeCode}.`);
  }
  if (another || (only && only !== kind))
    throw new EngineError('model_invalid', `${place} is of type ${kind} and holds ${[...fields.present].join(' and ')}.`);
  const value = valueOfKind(fields, kind);
  if (!value) throw new EngineError('model_invalid', `${place} of type ${kind} has no value.`);
  return value;
}

/** proto3 writers leave out zeros and empty strings, so these are values; an absent tensor, graph or type is not. */
function valueOfKind(fields: AttributeFields, kind: Kind): AttributeValue | undefined {
  switch (kind) {
    case 'float':
      return { kind, value: fields.float ?? 0 };
    case 'int':
      return { kind, value: fields.int ?? 0n };
    case 'string':
      return { kind, value: fields.string ?? new Uint8Array(0) };
    case 'tensor':
      return fields.tensor && { kind, value: fields.tensor };
    case 'graph':
      return fields.graph && { kind, value: fields.graph };
    case 'sparse-tensor':
      return fields.sparseTensor && { kind, value: fields.sparseTensor };
    case 'type':
      return fields.type ? { kind, value: fields.type } : undefined;
    case 'floats':
      return { kind, value: fields.floats };
    case 'ints':
      return { kind, value: fields.ints };
    case 'strings':
      return { kind, value: fields.strings };
    case 'tensors':
      return { kind, value: fields.tensors };
    case 'graphs':
      return { kind, value: fields.graphs };
    case 'sparse-tensors':
      return { kind, value: fields.sparseTensors };
    case 'types':
      return { kind, value: fields.types };
    default:
      return kind satisfies never;
  }
}
