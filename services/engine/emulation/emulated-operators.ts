/** The operators whose products the emulation computes itself, by domain and type. */
import { EngineError } from '../engine-errors.js';
import type { Node, Tensor } from '../ir/index.js';
import { emulatedConvolution } from './convolution.js';
import {
  emulatedDynamicQuantizeMatMul,
  emulatedMatMulInteger,
  emulatedMatMulIntegerToFloat,
  emulatedQGemm,
  emulatedQLinearMatMul,
} from './matrix-product.js';
import type { Inputs } from './operand.js';

type EmulatedOperator = (node: Node, inputs: Inputs) => Tensor;

const operators: Readonly<Record<string, EmulatedOperator>> = {
  ':QLinearConv': emulatedConvolution,
  ':QLinearMatMul': emulatedQLinearMatMul,
  ':MatMulInteger': emulatedMatMulInteger,
  'com.microsoft:QLinearConv': emulatedConvolution,
  'com.microsoft:QGemm': emulatedQGemm,
  'com.microsoft:MatMulIntegerToFloat': emulatedMatMulIntegerToFloat,
  'com.microsoft:DynamicQuantizeMatMul': emulatedDynamicQuantizeMatMul,
};

/** The function that computes `node`. Throws EngineError `model_unsupported` for a saturating operator without one. */
export function emulatedOperator(node: Node): EmulatedOperator {
  const operator = operators[`${node.domain}:${node.opType}`];
  if (operator) return operator;
  throw new EngineError(
    'model_unsupported',
    `${node.opType} "${node.name}" saturates on x64 without VNNI and cannot be emulated. Evaluate it on such a processor, or quantize it anew for target x64.`,
    { node: node.name },
  );
}
