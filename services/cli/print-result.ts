/** The result on standard output: one JSON document with `--json`, otherwise text for people. Nothing else is written there. */

export function printResult<Result>(result: Result, options: { readonly json?: boolean }, asText: (result: Result) => string): void {
  process.stdout.write(`${options.json ? JSON.stringify(result, null, 2) : asText(result)}\n`);
}
