/** What the arguments of a benchmark name. */

/** All when no names are given; names are separated by commas. Throws for a name that there is not. */
export function chosen<T>(what: string, names: string | undefined, all: ReadonlyMap<string, T>): T[] {
  if (names === undefined) return [...all.values()];
  return names.split(',').map((name) => {
    const found = all.get(name);
    if (found === undefined) throw new Error(`There is no ${what} '${name}'. Choose of: ${[...all.keys()].join(', ')}`);
    return found;
  });
}
