/**
 * The alloc backend: a lease and nothing else. Something other than the agent must lead packets to the other nodes.
 *
 * Not built in: this file is put into `/etc/weft/backends`. Behaves as flannel's (`pkg/backend/alloc`), which publishes no type either.
 *
 * @module
 */

import type { Backend } from "../src/mod.ts";

export default {
  name: "alloc",
  api: 1,
  type: "",
  options: () => null,
  leaseData: () => null,
  mtu: (external) => external,
  links: () => [],
  adopts: false,
  publish: () => null,
  node: () => [],
  peer: () => ({ path: "none", items: [] }),
} satisfies Backend;
