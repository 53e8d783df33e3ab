/** From ajv's list to the faults a person has: one JSON pointer each, without the noise of union branches that were never meant. */
import { type FieldError, type ValidationError, withoutForeignBranches } from '#contracts';

const errorsMax = 20;

/** What ajv says of a fault, by keyword. */
interface FaultParams {
  readonly additionalProperty?: unknown;
  readonly missingProperty?: unknown;
  readonly allowedValues?: readonly unknown[];
  readonly allowedValue?: unknown;
}

/** `part`: 'body', 'querystring', 'params' or 'headers'. */
export function fieldErrors(errors: readonly ValidationError[], part: string): FieldError[] {
  const found = withoutForeignBranches(errors).map((error) => ({
    pointer: pointerOf(error, part),
    code: error.keyword === 'additionalProperties' ? 'unknown_field' : error.keyword,
    detail: detailOf(error),
  }));
  const unique = new Map(found.map((error) => [`${error.pointer} ${error.code}`, error]));
  return [...unique.values()].slice(0, errorsMax);
}

const prefixes: Readonly<Record<string, string>> = { querystring: 'query', params: 'path', headers: 'header' };
const escapePointer = (name: string) => name.replaceAll('~', '~0').replaceAll('/', '~1');
const paramsOf = ({ params }: ValidationError): FaultParams => params;

function pointerOf(error: ValidationError, part: string): string {
  const { keyword, instancePath } = error;
  const { additionalProperty, missingProperty } = paramsOf(error);
  const name = keyword === 'additionalProperties' ? additionalProperty : keyword === 'required' ? missingProperty : undefined;
  const pointer = name === undefined ? instancePath : `${instancePath}/${escapePointer(String(name))}`;
  return part === 'body' ? pointer : `${prefixes[part] ?? part}${pointer}`;
}

function detailOf(error: ValidationError): string {
  const { additionalProperty, allowedValues = [], allowedValue } = paramsOf(error);
  switch (error.keyword) {
    case 'additionalProperties':
      return `There is no field ${JSON.stringify(additionalProperty)} here.`;
    case 'required':
      return 'This field is required.';
    case 'enum':
      return `One of ${allowedValues.map((value) => JSON.stringify(value)).join(', ')} is expected.`;
    case 'const':
      return `${JSON.stringify(allowedValue)} is expected.`;
    default:
      return `The value ${error.message ?? 'is not valid'}.`;
  }
}
