/** Of the faults that a validator finds in a union, those of the branch that the writer meant; without the noise of the others. */

/** What JSON Schema validators report, as far as it is used here. */
export interface ValidationError {
  readonly keyword: string;
  readonly instancePath: string;
  readonly schemaPath: string;
  readonly params: object;
  readonly message?: string | undefined;
}

interface Union {
  /** Schema path of the anyOf; each of its branches has errors below `<path>/<number>/`. */
  readonly path: string;
  /** Where in the document the union stands. */
  readonly at: string;
}

/** The fields by which branches are told apart. */
const tags = ['method', 'kind', 'name'] as const;

/** Of each failed anyOf, keeps the branch that the writer meant and drops "must match a schema in anyOf" itself. */
export function withoutForeignBranches(errors: readonly ValidationError[]): readonly ValidationError[] {
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
  const wrong = best.find((error) => isWrongTag(error, union));
  if (!wrong) return [...others, ...best];
  // No branch has this tag: the list of all tags helps, the faults against one of them do not.
  const allowedValues = [...branches.values()]
    .flat()
    .filter((error) => isWrongTag(error, union))
    .flatMap(({ params }) => allowedBy(params));
  return [...others, { keyword: 'enum', instancePath: wrong.instancePath, schemaPath: union.path, params: { allowedValues } }];
}

function allowedBy(params: object): readonly unknown[] {
  if ('allowedValues' in params && Array.isArray(params.allowedValues)) return params.allowedValues;
  return 'allowedValue' in params ? [params.allowedValue] : [];
}

const isWrongTag = ({ keyword, instancePath }: ValidationError, union: Union) =>
  (keyword === 'const' || keyword === 'enum') && tags.some((tag) => instancePath === `${union.at}/${tag}`);

/** A wrong type at the union itself or a wrong tag says "another branch was meant"; anything else is a plain fault. */
function misfit(error: ValidationError, union: Union): number {
  if (error.instancePath === union.at && ['type', 'enum', 'const'].includes(error.keyword)) return 10_000;
  return isWrongTag(error, union) ? 1_000 : 1;
}
