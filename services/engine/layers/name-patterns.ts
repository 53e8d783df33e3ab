/** Which nodes an `exclude` list names: exact names, and * for any run of characters. */

/** A test for node names; throws nothing, an empty list matches none. */
export function nameMatcher(patterns: readonly string[]): (name: string) => boolean {
  const expressions = patterns.map((pattern) => {
    const literal = pattern.split('*').map((part) => part.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'));
    return new RegExp(`^${literal.join('.*')}$`, 's');
  });
  return (name) => expressions.some((expression) => expression.test(name));
}
