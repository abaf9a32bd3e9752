/**
 * Which imports of a plugin are found, and what only looks like one.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import { foreignImports } from "./imports.ts";

test("foreignImports() finds what is imported at run time, in every usual form", () => {
  const found: readonly (readonly [text: string, ...modules: string[]])[] = [
    ['import x from "left-pad";', "left-pad"],
    ["import { a, b as c } from './other.ts'", "./other.ts"],
    ['import * as x from "/etc/x.js";', "/etc/x.js"],
    ['import x, {\n  a,\n  b,\n} from "npm:x";', "npm:x"],
    ['import "side-effect";', "side-effect"],
    ['export { a } from "./a.js"; export * from "./b.js";', "./a.js", "./b.js"],
    ['const x = await import("./late.js");', "./late.js"],
    ['const x = require("left-pad");', "left-pad"],
    ['import { type A } from "weft";', "weft"], // what is left of it at run time is an import
    ['import fs from "node:fs"; import x from "fs";', "fs"],
    ['import a from "x"; import b from "x";', "x"],
  ];
  for (const [text, ...modules] of found) assert.deepEqual(foreignImports(text), modules, text);
});

test("foreignImports() takes nothing else for an import", () => {
  const harmless = [
    'import { readFileSync } from "node:fs";',
    'import type { Backend } from "weft";',
    'export type { Backend } from "weft";',
    '// import x from "left-pad";\n',
    '/** ```ts\n * import x from "left-pad";\n * ``` */',
    "const text = 'import x from \"left-pad\"';",
    'const text = `import x from "left-pad"`;',
    'export default { name: "from", type: "import" };',
    'const quote = /["\']/; const other = "x";',
    "import.meta.url;",
    'const from = "x"; export const a = from;',
  ];
  for (const text of harmless) assert.deepEqual(foreignImports(text), [], text);
});
