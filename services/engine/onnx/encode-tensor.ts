/** IR tensors to TensorProto and SparseTensorProto; elements always as raw_data, or as a place in the external data file. */
import { dataTypes, type SparseTensor, type Tensor } from '../ir/index.js';
import { MessageWriter, writeEntries } from './message-writer.js';

/** Where a tensor is put outside the model file; undefined when it stays inside. */
export type ExternalPlacement = (tensor: Tensor) => { readonly location: string; readonly offsetBytes: number } | undefined;

export function encodeTensor(tensor: Tensor, name: string, place: ExternalPlacement): MessageWriter {
  const message = new MessageWriter().packedInts(1, tensor.dims).int(2, dataTypes[tensor.dataType].code).text(8, name);
  const placed = place(tensor);
  if (placed) {
    const entries = { location: placed.location, offset: String(placed.offsetBytes), length: String(tensor.data.byteLength) };
    writeEntries(message, 13, new Map(Object.entries(entries)));
    message.int(14, 1);
  } else if (tensor.strings) for (const element of tensor.strings) message.bytes(6, element);
  else message.source(9, tensor.data);
  message.text(12, tensor.docString);
  writeEntries(message, 16, tensor.metadata);
  return message.raw(tensor.unknownFields);
}

export function encodeSparseTensor(sparse: SparseTensor, name: string, place: ExternalPlacement): MessageWriter {
  return new MessageWriter()
    .message(1, encodeTensor(sparse.values, name, place))
    .message(2, encodeTensor(sparse.indices, sparse.indices.name ?? '', place))
    .packedInts(3, sparse.dims)
    .raw(sparse.unknownFields);
}
