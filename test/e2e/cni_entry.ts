/**
 * The CNI plugin as a program whose delegates get little time: `CNI_TEST_LIMIT_MS`.
 *
 * @module
 */

import process from "node:process";
import { cni } from "../../src/cli/cni.ts";

const limit = process.env["CNI_TEST_LIMIT_MS"];
process.exit(await cni(limit === undefined ? undefined : Number(limit)));
