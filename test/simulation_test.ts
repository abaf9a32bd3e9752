/**
 * Clusters in memory, with faults by chance. A seed that fails is named; `WEFT_SEED` runs it alone.
 *
 * @module
 */

import { test } from "node:test";
import { withSeeds } from "./seed.ts";
import { Simulation } from "./simulation.ts";

test("a few nodes find each other again after whatever happens", () =>
  withSeeds(8, (_, seed) => new Simulation({ seed, nodes: 7, steps: 60 }).run()));

test("so do nodes with both families", () =>
  withSeeds(3, (_, seed) => new Simulation({ seed, nodes: 6, steps: 50, ipv6: true }).run()));

test("so do two hundred nodes", () => withSeeds(1, (_, seed) => new Simulation({ seed, nodes: 200, steps: 1 }).run()));
