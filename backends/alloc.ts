/**
 * The alloc backend: a lease and nothing else. Something other than the agent must lead packets to the other nodes.
 *
 * Not built in: this file is put into `/etc/weft/backends`. Behaves as flannel's (`pkg/backend/alloc`), which publishes no type either.
 *
 * @module
 */

import type { Backend, Schema } from "../src/mod.ts";

/** Takes whatever it is given. */
const anything: Schema<unknown> = { "~standard": { version: 1, vendor: "weft", validate: (value) => ({ value }) } };

export default {
  name: "alloc",
  api: 1,
  type: "",
  options: anything,
  leaseData: anything,
  mtu: (external) => external,
  links: () => [],
  publish: () => null,
  node: () => [],
  peer: () => ({ path: "none", items: [] }),
} satisfies Backend;
