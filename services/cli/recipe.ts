/** `--recipe`: the name of a preset or a JSON file, checked against the schema; every fault is named by its JSON pointer. */
import type { TSchema } from 'typebox';
import { Settings } from 'typebox/system';
import { Value } from 'typebox/value';
import { CompressionRecipe, type MethodName, methods, presets, type ValidationError, withoutForeignBranches } from '#contracts';
import { UsageError } from './exit-codes.js';
import { type DocumentFault, readDocument, refuseFaults } from './json-document.js';

// A union reports the faults of all its branches: by default the list would end before those that were meant.
Settings.Set({ maxErrors: 1_000 });

/** Throws UsageError with one line per fault. */
export async function readRecipe(nameOrFile: string): Promise<CompressionRecipe> {
  if (Object.hasOwn(presets, nameOrFile)) return presets[nameOrFile as keyof typeof presets];
  if (!nameOrFile.endsWith('.json')) {
    throw new UsageError(`There is no recipe '${nameOrFile}'. Presets: ${Object.keys(presets).join(', ')}; or the path of a .json file.`);
  }
  const document = await readDocument(nameOrFile);
  refuseFaults(nameOrFile, 'a recipe', recipeFaults(document));
  return Value.Parse(CompressionRecipe, document);
}

/** All faults of a document that should be a recipe; empty when it is one. */
export function recipeFaults(document: unknown): DocumentFault[] {
  const steps = isObject(document) && Array.isArray(document.steps) ? document.steps : [];
  // Each step is checked against the schema of the method that it names, and stands as a valid one while the rest is checked.
  const withoutSteps =
    isObject(document) && steps.length > 0 ? { ...document, steps: steps.map(() => ({ method: 'clean-up' })) } : document;
  const outside = faultsOf(CompressionRecipe, withoutSteps, '');
  return [...outside, ...steps.flatMap((step, index) => stepFaults(step, `/steps/${index}`))];
}

function stepFaults(step: unknown, pointer: string): DocumentFault[] {
  const name = isObject(step) ? step.method : undefined;
  if (typeof name !== 'string' || !Object.hasOwn(methods, name)) {
    return [{ pointer: `${pointer}/method`, message: `must be one of ${Object.keys(methods).join(', ')}` }];
  }
  return faultsOf(methods[name as MethodName].schema, step, pointer);
}

function faultsOf(schema: TSchema, value: unknown, prefix: string): DocumentFault[] {
  const errors = Value.Errors(schema, value).map(
    (error): ValidationError => (error.keyword === 'anyOf' ? { ...error, schemaPath: `${error.schemaPath}/anyOf` } : error),
  );
  return withoutForeignBranches(errors).flatMap((error) => {
    // An unknown field is reported twice: at the object and, by the schema `false`, at the field itself.
    if (error.keyword === 'additionalProperties') return [];
    return [{ pointer: prefix + error.instancePath, message: messageOf(error) }];
  });
}

function messageOf({ keyword, params, message = 'is not valid' }: ValidationError): string {
  if (keyword === 'boolean') return 'is not a known field';
  return 'allowedValues' in params && Array.isArray(params.allowedValues) ? `must be one of ${params.allowedValues.join(', ')}` : message;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
