/**
 * Watches folders as the agent does, for tests of the stores.
 *
 * @module
 */

import { openDriver } from "../ffi/mod.ts";

/** See {@linkcode openDriver}. */
export const { watchFolder } = await openDriver();
