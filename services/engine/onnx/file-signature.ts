/** What a file is that was sent instead of an ONNX model: its first bytes say it better than a protobuf error. */
import { EngineError } from '../engine-errors.js';

/** Bytes that `refuseOtherFormats` wants to see. */
export const signatureBytes = 512;

interface Format {
  readonly matches: (head: Uint8Array, text: string) => boolean;
  readonly message: string;
}

const formats: readonly Format[] = [
  { matches: (head) => head.length === 0, message: 'The file is empty.' },
  { matches: (_, text) => text.startsWith('ORTM', 4), message: 'This is an ORT-format file (.ort). Send the .onnx file it was made from.' },
  {
    matches: (_, text) => text.startsWith('version https://git-lfs'),
    message: 'This is a Git LFS pointer, not the model. Fetch the file with "git lfs pull" and send that.',
  },
  {
    matches: (_, text) => /^\s*<(!doctype|html|\?xml)/i.test(text),
    message: 'This is a web page, not an ONNX model. Check the download address.',
  },
  { matches: (_, text) => text.startsWith('PK\x03\x04'), message: 'This is a zip archive (or a PyTorch checkpoint), not an ONNX model.' },
  { matches: (head) => head[0] === 0x1f && head[1] === 0x8b, message: 'This is a gzip file, not an ONNX model. Unpack it first.' },
  {
    matches: (_, text) => text.startsWith('\x89HDF'),
    message: 'This is an HDF5 file (Keras), not an ONNX model. Convert it with tf2onnx.',
  },
  { matches: (_, text) => text.startsWith('TFL3', 4), message: 'This is a TensorFlow Lite model. Convert it with tf2onnx.' },
  { matches: (_, text) => /^[\x20-\x7e\s]+$/.test(text), message: 'This is a text file, not an ONNX model.' },
];

/** Throws EngineError model_invalid when the first bytes of a file are those of something else than a ModelProto. */
export function refuseOtherFormats(head: Uint8Array): void {
  const start = head.subarray(0, signatureBytes);
  const text = Buffer.from(start).toString('latin1');
  const format = formats.find((candidate) => candidate.matches(start, text));
  if (format) throw new EngineError('model_invalid', format.message);
}
