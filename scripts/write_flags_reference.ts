/**
 * Writes docs/flags.md anew from the table of flags. Run it after a change of src/config/flags.ts:
 * `node_modules/.bin/bun scripts/write_flags_reference.ts`.
 *
 * @module
 */

import { writeFileSync } from "node:fs";
import { renderReference } from "../src/config/flags_reference.ts";

writeFileSync(new URL("../docs/flags.md", import.meta.url), renderReference());
