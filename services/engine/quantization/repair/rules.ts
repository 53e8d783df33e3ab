/** The rules of the doctor, one for each kind of finding: a total table, in the order in which repairs are made. */
import type { FindingKind, Rule } from './finding.js';
import { activationBetween, activationRange, redundantActivation } from './rules/activations.js';
import { biasScale, floatBias } from './rules/bias.js';
import { embeddingDequantize } from './rules/embedding-dequantize.js';
import { omittedPermutation } from './rules/omitted-permutation.js';
import { conflictingPairs, movableCodes, noIntegerKernel, repeatedPair } from './rules/pairs.js';
import { missingZeroPoint, perChannelActivation, typeMismatch, unfusableType, varyingParameters } from './rules/parameters.js';
import {
  floatOperand,
  interpolation,
  moverParameters,
  operatorVersion,
  outputAlsoFloat,
  outputNotQuantized,
  weightBiasTrap,
} from './rules/placement.js';
import { saturation } from './rules/saturation.js';
import { signedActivations } from './rules/signed-activations.js';
import { tiedWeight, transposedWeight, unfoldedWeight, weightOnlyConv } from './rules/stored-weights.js';

export const rules: { readonly [Kind in FindingKind]: Rule } = {
  'omitted-permutation': omittedPermutation,
  'unfolded-weight': unfoldedWeight,
  'transposed-weight': transposedWeight,
  'tied-weight': tiedWeight,
  'embedding-dequantize': embeddingDequantize,
  'repeated-pair': repeatedPair,
  'per-channel-activation': perChannelActivation,
  'missing-zero-point': missingZeroPoint,
  'float-operand': floatOperand,
  'signed-activations': signedActivations,
  'redundant-activation': redundantActivation,
  'activation-range': activationRange,
  'movable-codes': movableCodes,
  'bias-scale': biasScale,
  'float-bias': floatBias,
  'weight-only-conv': weightOnlyConv,
  saturation,
  'activation-between': activationBetween,
  'weight-bias-trap': weightBiasTrap,
  'varying-parameters': varyingParameters,
  'unfusable-type': unfusableType,
  'type-mismatch': typeMismatch,
  'output-not-quantized': outputNotQuantized,
  'output-also-float': outputAlsoFloat,
  'mover-parameters': moverParameters,
  'no-integer-kernel': noIntegerKernel,
  interpolation,
  'operator-version': operatorVersion,
  'conflicting-pairs': conflictingPairs,
};
