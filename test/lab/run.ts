/**
 * Runs lab tests, or any script, inside the lab's namespaces:
 *
 * ```sh
 * bun test/lab/run.ts test/lab/lab_test.ts …       # each test file in namespaces of its own, one after the other
 * bun test/lab/run.ts bench/agent.ts --nodes 5000  # a script, with its arguments
 * ```
 *
 * Under Deno (`deno run -A test/lab/run.ts …`) the files run under Deno as well. The exit code is the first one that is not 0; it is
 * 1, with the remedy, where the machine forbids namespaces.
 *
 * @module
 */

import process from "node:process";
import { enterLab } from "./enter.ts";
import { runtimeCommand, testCommand } from "./paths.ts";

async function run(args: readonly string[]): Promise<number> {
  const isTest = (file: string) => file.endsWith("_test.ts");
  if (args.length === 0) throw new Error("Name the test files or the script to run in the lab");
  if (!isTest(args[0]!)) return await enterLab([...runtimeCommand(), ...args]);
  const odd = args.find((file) => !isTest(file));
  if (odd !== undefined) throw new Error(`"${odd}" is not a test file: their names end in _test.ts`);
  let code = 0;
  for (const file of args) code = await enterLab([...testCommand(), file]) || code;
  return code;
}

try {
  process.exit(await run(process.argv.slice(2)));
} catch (error) {
  console.error((error as Error).message);
  process.exit(1);
}
