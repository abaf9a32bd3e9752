/**
 * The host-gw backend: every peer is the gateway to its own subnet. The smallest backend; the one to read first.
 *
 * All nodes must be on one segment. A peer that is not is pending with that reason; a route that the kernel still holds for it stays.
 * Behaves as flannel's (`pkg/backend/hostgw`).
 *
 * @module
 */

import * as v from "valibot";
import { BACKEND_API, defineBackend } from "../src/mod.ts";

export default defineBackend({
  name: "host-gw",
  api: BACKEND_API,
  type: "host-gw",
  options: v.object({ Type: v.optional(v.string()) }),
  leaseData: v.unknown(),
  mtu: (external) => external,
  links: () => [],
  publish: () => null,
  node: ({ family, segments }) => family === 4 ? segments.map((link) => ({ kind: "reverse-path", link })) : [],
  peer: ({ subnet, publicIp }, side) => {
    const onLink = side.onLink(publicIp);
    const to = { via: publicIp, link: onLink ?? side.link, onlink: false };
    const reason = `${publicIp} is not on a segment of this node: host-gw needs that, use --backend=directrouting`;
    return { path: "direct", items: [{ kind: "route", dst: subnet, to, src: null }], ...(onLink === null && { pending: reason }) };
  },
});
