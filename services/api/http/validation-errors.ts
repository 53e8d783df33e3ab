/** From ajv's list to the faults a person has: one JSON pointer each, without the noise of union branches that were never meant. */
import type { FieldError } from '#contracts';

/** What ajv reports, as far as it is used here. */
export interface ValidationError {
  readonly keyword: string;
  readonly instancePath: string;
  readonly schemaPath: string;
  readonly params: Readonly<Record<string, unknown>>;
  readonly message?: string | undefined;
}

const errorsMax = 20;

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

function pointerOf({ keyword, instancePath, params }: ValidationError, part: string): string {
  const name = keyword === 'additionalProperties' ? params.additionalProperty : keyword === 'required' ? params.missingProperty : undefined;
  const pointer = name === undefined ? instancePath : `${instancePath}/${escapePointer(String(name))}`;
  return part === 'body' ? pointer : `${prefixes[part] ?? part}${pointer}`;
}

function detailOf({ keyword, params, message }: ValidationError): string {
  switch (keyword) {
    case 'additionalProperties':
      return `There is no field ${JSON.stringify(params.additionalProperty)} here.`;
    case 'required':
      return 'This field is required.';
    case 'enum':
      return `One of ${(params.allowedValues as unknown[]).map((value) => JSON.stringify(value)).join(', ')} is expected.`;
    case 'const':
      return `${JSON.stringify(params.allowedValue)} is expected.`;
    default:
      return `The value ${message ?? 'is not valid'}.`;
  }
}

interface Union {
  /** Schema path of the anyOf; each of its branches has errors below `<path>/<number>/`. */
  readonly path: string;
  /** Where in the document the union stands. */
  readonly at: string;
}

/** Of each failed anyOf, keeps the branch that the writer meant and drops "must match a schema in anyOf" itself. */
function withoutForeignBranches(errors: readonly ValidationError[]): readonly ValidationError[] {
  const unions: Union[] = errors
    .filter((error) => error.keyword === 'anyOf')
    .map((error) => ({ path: error.schemaPath, at: error.instancePath }))
    // Outer unions first, so that an inner one is only looked at when its branch is kept.
    .sort((a, b) => a.at.length - b.at.length);
  return unions.reduce(keepMeantBranch, errors);
}

/** ajv names a branch by `$id` when it has one: then all its errors begin there and are told apart by that name. */
function branchOf(error: ValidationError, union: Union): string | null {
  if (!`${error.instancePath}/`.startsWith(`${union.at}/`)) return null;
  if (!error.schemaPath.startsWith(`${union.path}/`)) return null;
  return error.schemaPath.slice(union.path.length + 1).split('/')[0] ?? null;
}

function keepMeantBranch(errors: readonly ValidationError[], union: Union): readonly ValidationError[] {
  const branches = new Map<string, ValidationError[]>();
  for (const error of errors) {
    const branch = branchOf(error, union);
    if (branch !== null) branches.set(branch, [...(branches.get(branch) ?? []), error]);
  }
  const score = (list: readonly ValidationError[]) => list.reduce((sum, error) => sum + misfit(error, union), 0);
  const [best] = [...branches.values()].sort((a, b) => score(a) - score(b));
  if (best === undefined) return errors;
  const isSelf = (error: ValidationError) =>
    error.keyword === 'anyOf' && error.schemaPath === union.path && error.instancePath === union.at;
  const others = errors.filter((error) => !isSelf(error) && branchOf(error, union) === null);
  const methods = [...branches.values()].flat().filter((error) => isWrongMethod(error, union));
  if (!best.some((error) => isWrongMethod(error, union))) return [...others, ...best];
  // No branch has this method: the list of all methods helps, the faults against one of them do not.
  const allowedValues = methods.flatMap(({ params }) =>
    Array.isArray(params.allowedValues) ? params.allowedValues : [params.allowedValue],
  );
  return [...others, { keyword: 'enum', instancePath: `${union.at}/method`, schemaPath: union.path, params: { allowedValues } }];
}

const isWrongMethod = (error: ValidationError, union: Union) =>
  error.instancePath === `${union.at}/method` && (error.keyword === 'const' || error.keyword === 'enum');

/** A wrong type at the union itself or a wrong `method` says "another branch was meant"; anything else is a plain fault. */
function misfit(error: ValidationError, union: Union): number {
  if (error.instancePath === union.at && ['type', 'enum', 'const'].includes(error.keyword)) return 10_000;
  return isWrongMethod(error, union) ? 1_000 : 1;
}
